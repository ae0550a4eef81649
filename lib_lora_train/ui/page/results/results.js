// Sub-tab Results: every run with its LoRAs and last samples; try, train again, go on.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const STATES = { running: 'running', done: 'finished', stopped: 'stopped and kept', failed: 'failed', interrupted: 'interrupted' };
  const SHOTS = 6;

  /** The newest row of samples as small pictures. */
  function shots(run) {
    const { el } = tl.dom;
    const step = Math.max(...run.samples.map((one) => one.step));
    const row = run.samples.filter((one) => one.step === step).slice(0, SHOTS);
    const items = row.map((one) => ({
      src: tl.api.url(`runs/${encodeURIComponent(run.id)}/file`, { path: one.path }), caption: one.prompt, detail: `step ${one.step}, seed ${one.seed}`,
    }));
    return el('div', { class: 'tl-shots' }, items.map((item, index) => el('button',
      { type: 'button', class: 'tl-shot', on: { click: () => tl.parts.viewer(items, index) } }, el('img', { src: item.src, loading: 'lazy', alt: item.caption }))));
  }

  function loras(run) {
    const { el } = tl.dom;
    if (!run.loras.length) return null;
    const names = [...new Set(run.loras.map((one) => one.name))];
    return el('p', { class: 'tl-dim' }, names.map((name) => el('code', {}, `<lora:${name}:1>`)), ' ',
      run.loras.length > names.length ? `${run.loras.length} snapshots written` : null);
  }

  function facts(run) {
    return [tl.fmt.moment(run.started), run.total_steps ? `${tl.fmt.whole(run.steps)} of ${tl.fmt.plural(run.total_steps, 'step')}` : '',
      run.seconds > 0 ? tl.fmt.duration(run.seconds) : ''].filter(Boolean).join(', ');
  }

  async function again(run) {
    tl.recipe.replace(run.settings);
    tl.tab.select('recipe');
  }

  async function goOn(run) {
    const answer = await tl.api.post('continue', { run: run.id });
    await tl.live.began(answer.run || run.id, run.name);
    tl.tab.select('bake');
  }

  function actions(run, place) {
    const { button } = tl.dom;
    const act = (label, action, main) => {
      const node = button(label, () => tl.parts.busy(node, place, action), { class: main ? 'tl-button tl-go' : 'tl-button' });
      return node;
    };
    const last = run.loras[run.loras.length - 1];
    const busy = tl.status && tl.status.job;
    return [
      run.can_resume && !busy ? act('Continue', () => goOn(run), true) : null,
      last ? tl.outcome.tryButton(last.name, run, !run.can_resume) : null,
      run.settings ? act('Train again', () => again(run)) : null,
      act('Look at it', async () => {
        await tl.live.watch(run.id, run.name);
        tl.tab.select('bake');
      }),
    ];
  }

  function card(run) {
    const { el, note } = tl.dom;
    const place = el('div', {});
    return el('article', { class: 'tl-run', 'data-run': run.id },
      el('div', { class: 'tl-row' }, el('b', {}, run.name), el('span', { class: `tl-state tl-state-${run.state}` }, STATES[run.state] || run.state),
        el('span', { class: 'tl-dim' }, facts(run))),
      run.error ? note('bad', run.error, run.remedy) : null, (run.notes || []).map((words) => note('warn', words)), loras(run),
      run.samples.length ? shots(run) : null, el('div', { class: 'tl-row tl-tight' }, actions(run, place)), place);
  }

  function panel() {
    const { el, fill, note } = tl.dom;
    const place = el('div', { class: 'tl-runs', id: 'train_lora_runs' });
    let asked = 0;

    async function refresh() {
      if (!tl.tab.showing('results')) return;
      const mine = (asked += 1);
      try {
        const { runs } = await tl.api.get('runs');
        if (mine !== asked) return;
        fill(place, [runs, Boolean(tl.status && tl.status.job)], () => (runs.length ? runs.map((run) => card({ loras: [], samples: [], ...run }))
          : el('p', { class: 'tl-empty' }, 'No run yet. What you train is listed here, with its recipe.')));
      } catch (error) {
        fill(place, [error.message, Date.now()], () => note('bad', error.message, error.remedy));
      }
    }
    tl.on('tab', refresh);
    tl.on('ended', refresh);
    tl.on('run', (run) => run && run.outcome && refresh());
    return el('section', {}, place);
  }

  tl.results = { panel };
})(trainLora);
