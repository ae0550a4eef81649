// Asking for pictures side by side: what to compare, of which snapshots, at which strengths, with which prompts.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const KINDS = {
    strengths: { title: 'Snapshots × strengths', help: 'Which snapshot is the best, and at which strength? It should work at 1; needing less means overfit, needing more means more steps or rate.', uses: ['several', 'strengths', 'prompts'] },
    parts: { title: 'U-Net × text encoder', help: 'The strengths of the two parts that work say how to correct the two learning rates.', uses: ['one', 'strengths', 'te', 'prompts'] },
    leak: { title: 'Leak check', help: 'Prompts without the trigger, with and without the LoRA, the same seeds: what changes there leaks.', uses: ['one', 'strength', 'prompts'] },
    checkpoints: { title: 'On another checkpoint', help: 'Does it work on more than the checkpoint it was trained on? Each is loaded for its pictures; yours comes back.', uses: ['one', 'strengths', 'checkpoints', 'prompts'] },
  };
  const PLAIN = ['a woman standing in a park', 'a house by the sea, sunset'];

  const numbers = (words) => words.split(/[\s,;]+/).filter(Boolean).map(Number).filter(Number.isFinite);
  const lines = (words) => words.split('\n').map((line) => line.trim()).filter(Boolean);

  /** The run's own prompts; for the leak check those without what it was trained for. */
  function usual(run, kind) {
    const settings = run.settings || {}, trigger = (settings.trigger_word || '').toLowerCase();
    const own = lines(settings.sample_prompts || '').slice(0, 2);
    if (kind !== 'leak') return own.length ? own : [settings.trigger_word || ''];
    const without = own.filter((line) => !trigger || !line.toLowerCase().includes(trigger));
    return without.length ? without : PLAIN;
  }

  function form(run) {
    const { el, button, show, text, fill } = tl.dom;
    let kind = 'strengths', chosen = new Set(run.snapshots.slice(-4).map((one) => one.path)), titles = [];
    const id = (name) => `train_lora_order_${name}_${run.id}`;
    const field = (name, label, node) => el('div', { class: 'tl-field', 'data-uses': name }, el('label', { for: node.id || null }, label), node);
    const what = el('select', { id: id('kind'), on: { change: () => { kind = what.value; prompts.value = usual(run, kind).join('\n'); draw(); } } },
      Object.entries(KINDS).map(([name, one]) => el('option', { value: name }, one.title)));
    const help = el('p', { class: 'tl-help' });
    const boxes = el('div', { class: 'tl-row tl-boxes' }, run.snapshots.map((one) => {
      const box = el('input', { type: 'checkbox', checked: chosen.has(one.path), on: { change: () => { chosen[box.checked ? 'add' : 'delete'](one.path); draw(); } } });
      return el('label', { class: 'tl-choice' }, box, ` step ${one.step}`);
    }));
    const single = el('select', { id: id('one') }, [...run.snapshots].reverse().map((one) => el('option', { value: one.path }, `step ${one.step}`)));
    const typed = (name, value) => el('input', { type: 'text', id: id(name), value, on: { input: draw } });
    const strengths = typed('strengths', '0.6, 0.8, 1, 1.2'), te = typed('te', '0.6, 0.8, 1, 1.2'), strength = typed('strength', '1');
    const prompts = el('textarea', { id: id('prompts'), rows: 2, value: usual(run, kind).join('\n'), on: { input: draw } });
    const others = el('div', { class: 'tl-row tl-boxes' });
    const count = el('span', { class: 'tl-dim' }), place = el('div', {});
    const fields = [field('several', 'Snapshots', boxes), field('one', 'Snapshot', single), field('strengths', 'Strengths (of the U-Net, where there are two)', strengths),
      field('te', 'Strengths of the text encoder', te), field('strength', 'Strength', strength), field('checkpoints', 'Checkpoints', others), field('prompts', 'Prompts, one per line', prompts)];
    const go = button('Draw', () => tl.parts.busy(go, place, async () => {
      const answer = await tl.api.post('sheet', order());
      await tl.live.began(answer.run, `${run.name}: ${KINDS[kind].title}`);
    }), { class: 'tl-button tl-go' });

    function order() {
      const uses = (name) => KINDS[kind].uses.includes(name);
      return {
        kind, run: run.id, prompts: lines(prompts.value), checkpoints: uses('checkpoints') ? titles : [],
        snapshots: uses('several') ? run.snapshots.map((one) => one.path).filter((path) => chosen.has(path)) : [single.value],
        strengths: numbers(uses('strength') ? strength.value : strengths.value), te: uses('te') ? numbers(te.value) : [],
      };
    }
    function pictures({ snapshots, strengths: some, te: other, checkpoints, prompts: words }) {
      const each = { strengths: snapshots.length * some.length, parts: some.length * other.length, leak: 2, checkpoints: checkpoints.length * some.length }[kind];
      return each * Math.max(1, words.length);
    }
    async function listCheckpoints() {
      const { checkpoints } = await tl.api.get('checkpoints');
      fill(others, checkpoints, () => checkpoints.map((title) => {
        const box = el('input', { type: 'checkbox', on: { change: () => { titles = box.checked ? [...titles, title] : titles.filter((one) => one !== title); draw(); } } });
        return el('label', { class: 'tl-choice' }, box, ` ${title}`);
      }));
    }
    function draw() {
      for (const node of fields) show(node, KINDS[kind].uses.includes(node.dataset.uses));
      text(help, KINDS[kind].help);
      const many = pictures(order()), on = Boolean(tl.status && tl.status.job);
      text(count, on ? 'Wait until the job that is on has ended.' : tl.fmt.plural(many, 'picture'));
      go.disabled = on || !many;
      if (kind === 'checkpoints' && !others.firstChild) tl.parts.busy(what, place, listCheckpoints);
    }
    draw();
    const node = el('div', { class: 'tl-order' }, el('div', { class: 'tl-field' }, el('label', { for: what.id }, 'What to compare'), what, help), fields,
      el('div', { class: 'tl-row' }, go, count), place);
    return { node, draw };
  }

  tl.order = { form };
})(trainLora);
