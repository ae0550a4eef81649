// Sub-tab Recipe: preset cards, name and trigger word, what will happen, Train.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const BESIDE = ['output_name', 'trigger_word']; // say their advice themselves
  let form = null;

  /** What a card costs and sets, in a line; unknown numbers are left out. */
  function cardFacts(card) {
    const length = card.epochs ? tl.fmt.plural(card.epochs, 'epoch') : tl.fmt.plural(card.steps, 'step');
    return [`${card.network} rank ${card.rank}`, `${card.resolution} px`, length, card.file_mb > 0 ? tl.fmt.size(card.file_mb) : ''].filter(Boolean).map((one) => one.replaceAll(' ', '\u00a0')).join(', ');
  }

  function cardContents(card) {
    const { el } = tl.dom;
    return [el('b', {}, card.title), el('small', {}, card.help), el('small', { class: 'tl-facts-line' }, cardFacts(card)),
      card.notes.length ? el('small', {}, `For this card: ${card.notes.join(', ')}`) : null];
  }

  function ownContents(one) {
    const { el } = tl.dom;
    const words = one.problem || (one.changed ? `${tl.fmt.plural(one.changed, 'setting')} of your own` : 'The defaults');
    return [el('b', {}, one.name), el('small', { class: one.problem ? 'tl-bad-text' : null }, words)];
  }

  /** The presets and the user's own recipes, one of which is chosen; arrows move. */
  function presetCards() {
    const { el, fill, attr } = tl.dom;
    const place = el('div', { class: 'tl-cards', role: 'radiogroup', 'aria-label': 'Recipe', id: 'train_lora_presets' });
    const entries = (recipe) => [...recipe.presets.map((card) => [card.name, card.title, cardContents(card), false]),
      ...recipe.own.map((one) => [`own/${one.name}`, one.name, ownContents(one), Boolean(one.problem)])];
    let cards = [];
    function move(event, index) {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const usable = cards.filter((card) => !card.disabled);
      const target = usable[(usable.indexOf(cards[index]) + by + usable.length) % usable.length];
      target.focus();
      target.click();
    }
    function make(recipe) {
      fill(place, [recipe.presets, recipe.own], () => {
        cards = entries(recipe).map(([name, title, contents, off], index) => el('button', {
          type: 'button', role: 'radio', class: name.startsWith('own/') ? 'tl-card tl-own' : 'tl-card', 'data-preset': name, disabled: off,
          'aria-label': title, 'aria-describedby': `train_lora_card_${index}`,
          on: { click: () => recipe.choose(name), keydown: (event) => move(event, index) },
        }, el('span', { id: `train_lora_card_${index}` }, contents)));
        return cards;
      });
      mark();
    }
    function mark() {
      const chosen = cards.some((card) => card.dataset.preset === tl.recipe.preset);
      cards.forEach((card, index) => {
        const on = card.dataset.preset === tl.recipe.preset;
        attr(card, 'aria-checked', on);
        attr(card, 'tabindex', on || (!chosen && !index) ? 0 : -1);
      });
    }
    tl.on('schema', make);
    tl.on('presets', make);
    tl.on('values', mark);
    return place;
  }

  function wordField(name, label, placeholder, help) {
    const { el, fill } = tl.dom;
    const id = `train_lora_${name}`;
    const input = el('input', {
      type: 'text', id, autocomplete: 'off', spellcheck: 'false', placeholder, 'aria-describedby': `${id}_said`,
      on: { input: () => tl.recipe.set(name, input.value) },
    });
    const said = el('div', { class: 'tl-said', id: `${id}_said`, 'aria-live': 'polite' });
    function draw() {
      if (document.activeElement !== input) input.value = tl.recipe.values[name] || '';
      const found = tl.recipe.adviceAt(name);
      fill(said, found, () => (found.length
        ? found.map((one) => el('div', { class: one.level === 'error' ? 'tl-bad-text' : 'tl-warn-text' }, one.text))
        : el('div', { class: 'tl-help' }, help)));
    }
    tl.on('values', draw);
    tl.on('check', draw);
    return el('div', { class: 'tl-field' }, el('label', { for: id }, label), input, said);
  }

  /** `42 pictures × 4 repeats × 6 epochs = 1,008 steps`, as far as the factors are whole. */
  function sum(check) {
    const { el } = tl.dom;
    const { pictures, estimate } = check;
    const repeats = new Set((pictures.concepts || []).filter((one) => !one.is_reg).map((one) => one.repeats));
    const factors = [tl.fmt.plural(pictures.count, 'picture')];
    if (repeats.size === 1 && ![...repeats].includes(1)) factors.push(tl.fmt.plural([...repeats][0], 'repeat'));
    else if (pictures.samples && pictures.samples !== pictures.count) factors[0] += ` (${tl.fmt.whole(pictures.samples)} per epoch)`;
    if (estimate.epochs > 0) factors.push(tl.fmt.plural(estimate.epochs, 'epoch'));
    const batch = tl.recipe.values.train_batch_size * tl.recipe.values.gradient_accumulation_steps;
    return el('p', {}, factors.join(' × ') + (batch > 1 ? `, ${batch} at a time` : ''), ' → ',
      el('b', {}, tl.fmt.plural(estimate.steps, 'step')));
  }

  function costs(estimate) {
    const { el } = tl.dom;
    const known = estimate.measured || {};
    const cost = (value, unit) => (value ? el('div', {}, el('b', {}, value), el('small', {}, unit)) : null);
    return el('div', { class: 'tl-costs' },
      cost(estimate.seconds > 0 ? tl.fmt.duration(estimate.seconds) : '', known.time ? 'measured' : 'about'),
      cost(estimate.memory_gb > 0 ? tl.fmt.memory(estimate.memory_gb) : '', known.memory ? 'memory, measured' : 'memory, about'),
      cost(estimate.file_mb > 0 ? tl.fmt.size(estimate.file_mb) : '', 'file'),
      cost(estimate.snapshots > 0 ? tl.fmt.whole(estimate.snapshots) : '', estimate.snapshots === 1 ? 'snapshot' : 'snapshots'));
  }

  function advice(list) {
    const { note, link } = tl.dom;
    return list.filter((one) => !BESIDE.includes(one.field)).slice(0, 8).map((one) => {
      const field = tl.recipe.fields[one.field];
      return note(one.level === 'error' ? 'bad' : 'warn', one.text, '',
        field ? [' ', link(`Show “${field.label}”`, () => form.reveal(one.field))] : null);
    });
  }

  function prediction(recipe) {
    const { el, note, link } = tl.dom;
    const { check, problem, values } = recipe;
    if (problem) {
      return note('bad', problem.message, problem.remedy, problem.field in recipe.fields && problem.field !== 'train_data_dir'
        ? [' ', link(`Show “${recipe.fields[problem.field].label}”`, () => form.reveal(problem.field))]
        : [' ', link('Pictures', () => tl.tab.select('pictures'))]);
    }
    if (!check && values.train_data_dir) return null;
    if (!values.train_data_dir || !check.pictures || !check.pictures.count) {
      return [el('p', { class: 'tl-dim' }, 'No pictures yet. ', link('Choose a folder', () => tl.tab.select('pictures'))),
        advice(((check && check.advice) || []).filter((one) => one.field !== 'train_data_dir'))];
    }
    const estimate = check.estimate || {};
    return [estimate.steps ? sum(check) : null, costs(estimate), ...(estimate.notes || []).map((words) => el('p', { class: 'tl-dim' }, words)),
      advice(check.advice || [])];
  }

  function whatWillHappen() {
    const { el, fill } = tl.dom;
    const place = el('div', { 'aria-live': 'polite', id: 'train_lora_prediction' }, el('p', { class: 'tl-dim' }, 'Looking…'));
    tl.on('checking', () => place.classList.add('tl-stale'));
    tl.on('check', (recipe) => {
      place.classList.remove('tl-stale');
      const { check, problem } = recipe;
      fill(place, [check && [check.estimate, check.advice, check.pictures && { ...check.pictures, items: 0 }], recipe.values.train_data_dir,
        problem && [problem.message, problem.remedy], recipe.values.train_batch_size, recipe.values.gradient_accumulation_steps],
      () => prediction(recipe));
    });
    return place;
  }

  function panel() {
    const { el, link } = tl.dom;
    form = tl.form.form();
    const section = el('section', {});
    const train = tl.train.controls();
    const everything = link('All settings', () => {
      form.box.open = true;
      form.box.scrollIntoView({ block: 'start', behavior: 'smooth' });
    });
    const side = el('div', { class: 'tl-panel' }, el('h3', {}, 'What will happen'), whatWillHappen(), tl.measure.control(), train, el('p', {}, everything));
    const main = el('div', {}, tl.recipes.place(), tl.again.panel(), presetCards(), tl.recipes.actions(), tl.difficulty.control(),
      el('div', { class: 'tl-pair' },
        wordField('output_name', 'Name', 'laetitia_v1', 'In prompts: <lora:name:1>'),
        wordField('trigger_word', 'Trigger word', 'laetitia', 'The word that calls it; put it first in every caption')));
    section.append(el('div', { class: 'tl-cols' }, main, side), form.box);
    tl.recipes.dropInto(section);
    return section;
  }

  tl.recipePanel = { panel, reveal: (name) => form.reveal(name) };
})(trainLora);
