// How the last run ended: finished with what to do next, or failed with the remedy and one click to apply it.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  /** The recipe a run was made with; the form may say something else by now. */
  async function settingsOf(run) {
    const { runs } = await tl.api.get('runs');
    const found = runs.find((one) => one.id === run.id);
    return (found && found.settings) || null;
  }

  /** Puts the LoRA `name` into txt2img with the run's own trigger; nothing where the page has no txt2img. */
  function tryButton(name, run, main) {
    const { button } = tl.dom;
    if (!tl.host.hasTxt2img()) return null;
    return button('Try in txt2img', async () => {
      const used = run.settings || await settingsOf(run).catch(() => null) || tl.recipe.values;
      tl.host.tryInTxt2img(name, used.activation_text || used.trigger_word, used.preferred_weight);
    }, { class: main ? 'tl-button tl-go tl-try' : 'tl-button tl-try' });
  }

  function finished(run, dismiss) {
    const { el, button } = tl.dom;
    const { outcome } = run;
    const what = outcome.reason === 'done' ? 'is finished' : 'was stopped and kept';
    const facts = [tl.fmt.plural(outcome.step, 'step'), outcome.seconds > 0 ? `in ${tl.fmt.duration(outcome.seconds)}` : '',
      outcome.seconds_to_first_step > 0 ? `first step after ${tl.fmt.duration(outcome.seconds_to_first_step)}` : ''];
    return el('div', { class: 'tl-note tl-ok tl-row' },
      el('span', {}, el('b', {}, run.name), ` ${what}: ${facts.filter(Boolean).join(', ')}.`),
      el('span', { class: 'tl-row tl-tight tl-end' },
        run.published ? tryButton(run.published.name, run, true) : null,
        button('Results', () => tl.tab.select('results')), button('Close', dismiss, { 'aria-label': 'Close this message' })));
  }

  /** A job that was no training. */
  function done(run, dismiss) {
    const { el, button } = tl.dom;
    return el('div', { class: 'tl-note tl-ok tl-row' }, el('span', {}, run.measured ? `Measured: ${tl.measure.figures(run.measured)}.` : run.outcome.text, run.outcome.reason === 'stopped' ? ' Stopped.' : ''),
      el('span', { class: 'tl-row tl-tight tl-end' }, button('Close', dismiss, { 'aria-label': 'Close this message' })));
  }

  const ENDS = { Failed: failed, Finished: finished, Done: done };

  /** The failed run's own recipe with what the error proposes. */
  async function retry(run) {
    const used = await settingsOf(run);
    if (used) tl.recipe.replace({ ...used, ...run.outcome.lower });
    else tl.recipe.merge(run.outcome.lower);
    await tl.train.start();
  }

  async function goOn(run) {
    await tl.api.post('continue', { run: run.id });
    await tl.live.began(run.id, run.name);
  }

  function changes(lower) {
    return Object.entries(lower).map(([name, value]) => {
      const field = tl.recipe.fields[name];
      const shown = value === true ? 'on' : value === false ? 'off' : value;
      return `${field ? field.label : name}: ${shown}`;
    }).join(', ');
  }

  function failed(run, dismiss) {
    const { el, button, note } = tl.dom;
    const { outcome } = run;
    const place = el('div', {});
    const act = (label, action, main) => {
      const node = button(label, () => tl.parts.busy(node, place, action), { class: main ? 'tl-button tl-go' : 'tl-button' });
      return node;
    };
    const lower = outcome.lower && Object.keys(outcome.lower).length ? outcome.lower : null;
    return note('bad', `${run.name || 'The run'} ended: ${outcome.text}`, outcome.remedy,
      lower ? el('p', { class: 'tl-dim' }, `Proposed: ${changes(lower)}`) : null,
      el('div', { class: 'tl-row tl-tight' },
        lower ? act('Apply and retry', () => retry(run), true) : null,
        outcome.can_resume ? act('Continue', () => goOn(run), !lower) : null, button('Close', dismiss)),
      outcome.detail ? el('details', {}, el('summary', {}, 'Details for a report'), el('pre', {}, outcome.detail)) : null, place);
  }

  function outcome() {
    const { el, fill } = tl.dom;
    const place = el('div', { id: 'train_lora_outcome', 'aria-live': 'polite' });
    let closed = tl.store.get('closed', '');

    function draw() {
      const run = tl.current;
      const over = run && run.outcome && closed !== run.id && !(tl.status && tl.status.job);
      const dismiss = () => {
        closed = run.id;
        tl.store.set('closed', closed);
        draw();
      };
      fill(place, over && [run.id, run.outcome, run.published], () => over
        && ENDS[run.outcome.event](run, dismiss));
    }

    tl.on('run', draw);
    tl.on('status', draw);
    tl.on('schema', draw);
    tl.on('ended', () => tl.host.refreshCards());
    return place;
  }

  tl.outcome = { outcome, tryButton };
})(trainLora);
