// Deleting a run or a LoRA, and getting it back.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  /** Asks what exactly; gives the ids of what went, or none. */
  async function throwAway(run) {
    const names = [...new Set(run.loras.map((one) => one.name))];
    const choices = [['Delete the run', 'run', true]];
    if (names.length) choices.push([`The run and ${names.map((name) => `“${name}”`).join(', ')}`, 'both']);
    const words = 'Its pictures, snapshots and state go to the trash, from where they come back with one click for 30 days.'
      + (names.length ? ' The LoRA in the web UI’s folder can stay.' : '');
    const answer = await tl.parts.ask(`Delete the run ${run.name}?`, words, [...choices, ['Cancel', null]]);
    if (!answer) return [];
    const gone = [];
    for (const name of answer === 'both' ? names : []) {
      try {
        gone.push((await tl.api.post('delete', { lora: name })).id);
      } catch (error) {
        if (error.status !== 404) throw error; // deleted elsewhere already
      }
    }
    gone.push((await tl.api.post('delete', { run: run.id })).id);
    if (answer === 'both') tl.host.refreshCards();
    return gone;
  }

  async function restore(ids) {
    for (const id of ids) await tl.api.post('restore', { id });
    tl.host.refreshCards();
    tl.emit('kept', '');
  }

  function row(item) {
    const { el, button } = tl.dom;
    const place = el('div', {});
    const node = button('Restore', () => tl.parts.busy(node, place, () => restore([item.id])));
    return el('li', { class: 'tl-row' }, el('span', {}, item.kind === 'run' ? 'run ' : 'LoRA ', el('b', {}, item.name)),
      el('span', { class: 'tl-dim' }, `deleted ${tl.fmt.moment(item.when)}, gone for good in ${tl.fmt.plural(item.days_left, 'day')}`), node, place);
  }

  /** What was deleted, below the list of runs; `refresh()` reads it again. */
  function panel() {
    const { el, fill, show } = tl.dom;
    const list = el('ul', { class: 'tl-trash' }), title = el('summary', {});
    const node = el('details', { id: 'train_lora_trash', hidden: true }, title, list);
    async function refresh() {
      const { items } = await tl.api.get('trash');
      show(node, items.length);
      tl.dom.text(title, `Deleted (${items.length})`);
      fill(list, items, () => items.map(row));
    }
    return { node, refresh };
  }

  tl.trash = { throwAway, restore, panel };
})(trainLora);
