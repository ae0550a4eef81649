// Sub-tab Tools: what a LoRA file says about its training; recipes out of and into the page.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  function recipeTable(settings) {
    const { el } = tl.dom;
    const rows = Object.entries(settings).filter(([name, value]) => name in tl.recipe.fields && value !== tl.recipe.fields[name].default);
    return el('table', { class: 'tl-facts' }, el('tbody', {}, rows.map(([name, value]) => el('tr', {},
      el('th', { scope: 'row', title: name }, tl.recipe.fields[name].label), el('td', {}, String(value))))));
  }

  function inspect() {
    const { el, button, fill } = tl.dom;
    const place = el('div', { 'aria-live': 'polite' });
    const input = el('input', {
      type: 'text', id: 'train_lora_inspect', autocomplete: 'off', spellcheck: 'false', placeholder: 'Name as on its card',
      on: { keydown: (event) => event.key === 'Enter' && node.click() },
    });
    const node = button('Look inside', () => tl.parts.busy(node, place, async () => {
      const name = input.value.trim();
      const answer = await tl.api.get('lora', { name });
      const lost = answer.not_carried || [];
      fill(place, [name, Date.now()], () => [
        el('p', { class: 'tl-dim' }, { ours: 'Trained here; what differs from the defaults:', other: 'From another trainer; what is understood of it:', none: 'The file says nothing about its training.' }[answer.source]),
        recipeTable(answer.settings || {}),
        lost.length ? el('p', { class: 'tl-dim' }, `Not carried over: ${lost.join(', ')}`) : null,
        button('Train again', () => tl.again.open(name)),
      ]);
    }));
    return el('div', { class: 'tl-panel' }, el('h3', {}, 'Recipe of a LoRA'), el('label', { for: 'train_lora_inspect' }, 'LoRA in the web UI’s folder'),
      el('div', { class: 'tl-joined' }, input, node), place);
  }

  function save() {
    const { el } = tl.dom;
    const file = new Blob([JSON.stringify(tl.recipe.values, null, 2)], { type: 'application/json' });
    const address = URL.createObjectURL(file);
    el('a', { href: address, download: `${tl.recipe.values.output_name || 'recipe'}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  /** A recipe file over the defaults. Names we do not have are said, not dropped silently. */
  async function load(file) {
    const { note } = tl.dom;
    let mapping;
    try {
      mapping = JSON.parse(await file.text());
    } catch (error) {
      return note('bad', `${file.name} is no JSON.`, 'Choose a file that “Save recipe” wrote.');
    }
    const flat = Object.assign({}, ...Object.entries(mapping).map(([name, value]) => (value && typeof value === 'object' && !Array.isArray(value) ? value : { [name]: value })));
    const unknown = Object.keys(flat).filter((name) => !(name in tl.recipe.fields) && name !== 'recipe_version');
    tl.recipe.replace(flat);
    return unknown.length ? note('warn', `${file.name} is in; these options are not known here: ${unknown.join(', ')}.`) : note('ok', `${file.name} is the recipe now.`);
  }

  function files() {
    const { el, button, fill } = tl.dom;
    const place = el('div', { 'aria-live': 'polite' });
    const input = el('input', {
      type: 'file', accept: '.json', hidden: true,
      on: {
        async change() {
          if (!input.files.length) return;
          const said = await load(input.files[0]);
          fill(place, Date.now(), () => said);
          input.value = '';
        },
      },
    });
    return el('div', { class: 'tl-panel' }, el('h3', {}, 'Recipe as a file'), el('p', { class: 'tl-dim' }, 'The recipe as it stands, to keep or to share.'),
      el('div', { class: 'tl-row' }, button('Save recipe', save), button('Load recipe', () => input.click()), input), place);
  }

  const panel = () => tl.dom.el('section', { class: 'tl-cols tl-even' }, inspect(), files());

  tl.tools = { panel };
})(trainLora);
