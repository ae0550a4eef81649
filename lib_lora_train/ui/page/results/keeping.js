// A run's snapshots: which one is the LoRA now, and making another one it.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  /** Make a snapshot the LoRA of its name. `by`: {weight, sheet, cell} it was chosen by. Gives what to tell. */
  async function keep(run, snapshot, by) {
    const answer = await tl.api.post('keep', { run: run.id, snapshot: snapshot.path, ...by });
    tl.host.refreshCards();
    tl.emit('kept', run.id);
    const strength = by && by.weight ? ` at strength ${by.weight}` : '';
    return [`<lora:${answer.name}:${(by && by.weight) || 1}> is now the snapshot of step ${tl.fmt.whole(answer.step)}${strength}, with card and picture.`,
      ...answer.notes].join(' ');
  }

  const sample = (run, step) => run.samples.filter((one) => one.step === step && one.index === 0)[0];

  function tile(run, snapshot, place) {
    const { el, button, note } = tl.dom;
    const kept = run.loras.length && run.loras[run.loras.length - 1].step === snapshot.step;
    const shot = sample(run, snapshot.step);
    const node = button('Keep this one', () => tl.parts.busy(node, place, async () => place.replaceChildren(note('ok', await keep(run, snapshot, {})))));
    return el('li', { class: kept ? 'tl-snapshot tl-kept' : 'tl-snapshot' },
      shot ? el('img', { src: tl.api.url(`runs/${encodeURIComponent(run.id)}/file`, { path: shot.path }), loading: 'lazy', alt: `sample of step ${snapshot.step}` })
        : el('span', { class: 'tl-blank' }),
      el('span', {}, `step ${tl.fmt.whole(snapshot.step)}`),
      kept ? el('b', { class: 'tl-kept-word' }, 'kept') : node);
  }

  function snapshots(run, place) {
    const { el } = tl.dom;
    if (!run.snapshots.length) return null;
    return el('ul', { class: 'tl-snapshots', 'aria-label': 'Snapshots' }, run.snapshots.map((one) => tile(run, one, place)));
  }

  tl.keeping = { keep, snapshots };
})(trainLora);
