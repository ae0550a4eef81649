// Measuring the recipe with a few real steps: the button, and what came of it with one click to take it over.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const shown = (value) => (value === true ? 'on' : value === false ? 'off' : String(value));

  function named(lower) {
    return Object.entries(lower).map(([name, value]) => `${tl.recipe.fields[name] ? tl.recipe.fields[name].label : name}: ${shown(value)}`).join(', ');
  }

  function figures({ seconds_per_step: seconds, memory_gb: memory }) {
    const pace = `${tl.fmt.speed(1 / seconds)}`;
    return [pace, memory > 0 ? `${tl.fmt.memory(memory)} at most besides what is loaded` : ''].filter(Boolean).join(', ');
  }

  function result(found, close) {
    const { el, note, button } = tl.dom;
    const dismiss = tl.dom.link('Close', close, { 'aria-label': 'Close this message' });
    if (!Object.keys(found.lower).length) return note('ok', `It fits: ${figures(found)}.`, '', ' ', dismiss);
    const take = button('Use that', () => {
      tl.recipe.merge(found.lower);
      close();
    }, { class: 'tl-button tl-go', id: 'train_lora_use_lower' });
    return note('warn', `This recipe does not fit into the memory. It fits with ${named(found.lower)}: ${figures(found)}.`, '',
      el('div', { class: 'tl-row tl-tight' }, take, dismiss));
  }

  function control() {
    const { el, fill, text, link } = tl.dom;
    const place = el('div', { 'aria-live': 'polite', id: 'train_lora_measured' });
    let mine = '', settings = '';
    const clear = () => {
      mine = settings = '';
      fill(place, null, () => null);
    };
    const node = link('Measure with real steps', () => tl.parts.busy(node, place, async () => {
      clear();
      settings = JSON.stringify(tl.recipe.values);
      const { run } = await tl.api.post('measure', { settings: tl.recipe.values }, 300);
      mine = run;
      await tl.live.began(run, 'Measuring');
    }).then(draw), { id: 'train_lora_measure', title: 'Takes three steps on the loaded checkpoint: how long one takes, how much memory it needs. Nothing is kept.' });

    function draw() {
      const job = tl.status && tl.status.job;
      node.disabled = Boolean(job || (tl.status && tl.status.host.problem) || !tl.recipe.values.train_data_dir);
      text(node, job && job.kind === 'measure' ? 'Measuring…' : 'Measure with real steps');
    }
    function ended(run) {
      if (!run || run.id !== mine || !run.outcome) return;
      fill(place, [run.id, run.measured, run.outcome], () => (run.measured ? result(run.measured, clear) : null));
      if (run.measured) tl.recipe.recheckNow();
    }
    tl.on('status', draw);
    tl.on('values', () => {
      draw();
      if (settings && settings !== JSON.stringify(tl.recipe.values)) clear();
    });
    tl.on('run', ended);
    return el('div', {}, node, place);
  }

  tl.measure = { control, figures };
})(trainLora);
