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

  function files() {
    const { el, button, fill } = tl.dom;
    const place = el('div', { 'aria-live': 'polite' });
    const input = el('input', {
      type: 'file', accept: '.toml,.json,.safetensors,.sh,.bat,.ps1,.txt', hidden: true,
      on: {
        async change() {
          if (!input.files.length) return;
          await tl.parts.busy(open, place, async () => {
            const said = await tl.recipes.takeFile(input.files[0]);
            fill(place, Date.now(), () => tl.recipes.message(said));
          });
          input.value = '';
        },
      },
    });
    const open = button('Load recipe', () => input.click());
    const save = button('Save recipe', () => tl.parts.busy(save, place, tl.recipes.exported));
    return el('div', { class: 'tl-panel' }, el('h3', {}, 'Recipe as a file'),
      el('p', { class: 'tl-dim' }, 'The recipe as it stands, to keep or to share; without folders. Other trainers’ files and LoRAs can be loaded too.'),
      el('div', { class: 'tl-row' }, save, open, input), place);
  }

  const panel = () => tl.dom.el('section', { class: 'tl-cols tl-even' }, inspect(), files());

  tl.tools = { panel };
})(trainLora);
