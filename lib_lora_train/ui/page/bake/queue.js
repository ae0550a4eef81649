// The queue of recipes: what waits, in which order, what failed; started and held by the user.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  function standing(entry) {
    if (entry.problem) return ['failed', 'failed'];
    return entry.run ? ['running', 'is trained'] : ['waiting', 'waits'];
  }

  function row(entry, index, entries, change) {
    const { el, button, note } = tl.dom;
    const [state, words] = standing(entry);
    const act = (label, route, more, props) => button(label, () => change(route, { id: entry.id, ...more }), props);
    const moves = state === 'waiting' ? [act('↑', 'queue/move', { place: index - 1 }, { 'aria-label': `${entry.name} earlier`, disabled: !index }),
      act('↓', 'queue/move', { place: index + 1 }, { 'aria-label': `${entry.name} later`, disabled: index === entries.length - 1 })] : null;
    return el('li', {}, el('div', { class: 'tl-row' }, el('b', {}, entry.name), el('span', { class: `tl-state tl-state-${state}` }, words),
      el('span', { class: 'tl-row tl-tight tl-end' }, moves, entry.problem ? act('Try again', 'queue/again') : null,
        button('Look at the recipe', () => {
          tl.recipe.replace(entry.settings);
          tl.tab.select('recipe');
        }), state === 'running' ? null : act('Remove', 'queue/remove', {}, { 'aria-label': `Remove ${entry.name} from the queue` }))),
    entry.problem ? note('bad', entry.problem) : null);
  }

  function panel() {
    const { el, button, fill, show, text } = tl.dom;
    const title = el('h3', {}), list = el('ol', { class: 'tl-queue', id: 'train_lora_queue' }), place = el('div', { 'aria-live': 'polite' });
    const start = button('Start the queue', () => change('queue/start'), { class: 'tl-button tl-go' });
    const hold = button('Hold after this one', () => change('queue/hold'));
    const node = el('div', { class: 'tl-panel', hidden: true }, el('div', { class: 'tl-row' }, title, el('span', { class: 'tl-row tl-tight tl-end' }, start, hold)), list, place);
    let seen = -1;

    const change = (route, body) => tl.parts.busy(start, place, async () => {
      draw(await tl.api.post(route, body));
      tl.live.poke();
    });

    function draw({ going, entries }) {
      const waiting = entries.filter((one) => !one.run && !one.problem).length;
      show(node, entries.length);
      text(title, waiting ? `Queue (${waiting} ${waiting === 1 ? 'waits' : 'wait'})` : 'Queue');
      show(start, !going && waiting);
      show(hold, going);
      fill(list, entries, () => entries.map((entry, index) => row(entry, index, entries, change)));
    }
    async function refresh() {
      if (!tl.tab.showing('bake') || !tl.status || !tl.status.queue) return;
      const mark = JSON.stringify(tl.status.queue);
      if (mark === seen) return;
      seen = mark;
      draw(await tl.api.get('queue').catch((error) => {
        seen = -1;
        throw error;
      }));
    }
    const soon = () => refresh().catch((error) => console.warn('Train LoRA: the queue cannot be read:', error.message));
    tl.on('status', soon);
    tl.on('tab', soon);
    return node;
  }

  tl.queue = { panel };
})(trainLora);
