// Sample prompts and intervals of the run that is on, changed from the next step on.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const FIELDS = [['sample_prompts', 'Sample prompts, one per line', 'lines'], ['sample_negative', 'Negative prompt', 'words'],
    ['sample_every_n_steps', 'Samples every … steps (0: off)', 'number'], ['save_every_n_steps', 'Snapshot every … steps (0: off)', 'number']];

  /** What holds now: the recipe the run was begun with, and what was changed since. */
  async function present(run) {
    const { runs } = await tl.api.get('runs');
    const found = runs.find((one) => one.id === run.id);
    return { ...((found && found.settings) || {}), ...run.changed };
  }

  function panel() {
    const { el, button, show, note } = tl.dom;
    const place = el('div', { 'aria-live': 'polite' });
    const inputs = Object.fromEntries(FIELDS.map(([name, , kind]) => [name, kind === 'lines' ? el('textarea', { id: `train_lora_wish_${name}`, rows: 3 })
      : el('input', { id: `train_lora_wish_${name}`, type: 'text', inputmode: kind === 'number' ? 'numeric' : null })]));
    let before = {};
    const read = () => Object.fromEntries(FIELDS.map(([name, , kind]) => [name, kind === 'number' ? Number(inputs[name].value) : inputs[name].value]));
    const apply = button('Change', () => tl.parts.busy(apply, place, async () => {
      const values = Object.fromEntries(Object.entries(read()).filter(([name, value]) => value !== before[name]));
      if (!Object.keys(values).length) return;
      await tl.api.post('change', { values });
      before = { ...before, ...values };
      place.replaceChildren(note('ok', 'It holds from the next step on; the trained file is not affected.'));
    }), { class: 'tl-button tl-go' });
    const open = async () => {
      if (!node.open || !tl.bake.run()) return;
      const values = await present(tl.bake.run());
      before = Object.fromEntries(FIELDS.map(([name]) => [name, values[name]]));
      for (const [name] of FIELDS) inputs[name].value = values[name] === undefined ? '' : values[name];
    };
    const node = el('details', { id: 'train_lora_wishes', class: 'tl-wishes', hidden: true, on: { toggle: () => tl.parts.busy(apply, place, open) } },
      el('summary', {}, 'Change prompts and intervals'),
      FIELDS.map(([name, label]) => el('div', { class: 'tl-field' }, el('label', { for: inputs[name].id }, label), inputs[name])), el('div', { class: 'tl-row' }, apply), place);
    tl.on('status', ({ job }) => {
      const on = job && job.kind === 'train' && tl.bake.run() && tl.bake.run().id === job.id;
      show(node, on);
      if (!on) node.open = false;
    });
    return node;
  }

  tl.wishes = { panel };
})(trainLora);
