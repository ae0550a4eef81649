// Sub-tab Results: every run with what changed since the one before, its snapshots, grids, and what to do with it.
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
      { type: 'button', class: 'tl-shot', on: { click: () => tl.look.pictures(items, index) } }, el('img', { src: item.src, loading: 'lazy', alt: item.caption }))));
  }

  function facts(run) {
    return [tl.fmt.moment(run.started), run.total_steps ? `${tl.fmt.whole(run.steps)} of ${tl.fmt.plural(run.total_steps, 'step')}` : '',
      run.seconds > 0 ? tl.fmt.duration(run.seconds) : ''].filter(Boolean).join(', ');
  }

  function changes(found) {
    const { el } = tl.dom;
    if (!found) return null;
    if (!found.list.length) return el('p', { class: 'tl-dim' }, `The same recipe as ${found.name} before it.`);
    const some = found.list.slice(0, 4).join('; ');
    const rest = found.list.slice(4);
    return el('p', { class: 'tl-dim tl-changes', title: found.list.join('\n') }, `Changed since ${found.name}: ${some}${rest.length ? ` and ${rest.length} more` : ''}.`);
  }

  function head(run) {
    const { el, note } = tl.dom;
    const names = [...new Set(run.loras.map((one) => one.name))];
    return [el('div', { class: 'tl-row' }, el('b', {}, run.name), el('span', { class: `tl-state tl-state-${run.state}` }, STATES[run.state] || run.state),
      el('span', { class: 'tl-dim' }, facts(run)), names.map((name) => el('code', {}, `<lora:${name}:1>`))),
    changes(run.changes), tl.collect.hint(run), run.error ? note('bad', run.error, run.remedy) : null, (run.notes || []).map((words) => note('warn', words))];
  }

  async function goOn(run) {
    const answer = await tl.api.post('continue', { run: run.id });
    await tl.live.began(answer.run || run.id, run.name);
    tl.tab.select('bake');
  }

  function actions(run, busy, place, said) {
    const { button } = tl.dom;
    const act = (label, action, main) => {
      const node = button(label, () => tl.parts.busy(node, place, action), { class: main ? 'tl-button tl-go' : 'tl-button' });
      return node;
    };
    const last = run.loras[run.loras.length - 1];
    return [
      run.can_resume && !busy ? act('Continue', () => goOn(run), true) : null,
      last ? tl.outcome.tryButton(last.name, run, !run.can_resume) : null,
      run.settings ? act('Train again', () => {
        tl.recipe.replace(run.settings);
        tl.tab.select('recipe');
      }) : null,
      act('Look at it', async () => {
        await tl.live.watch(run.id, run.name);
        tl.tab.select('bake');
      }),
      run.state === 'running' ? null : act('Delete…', async () => {
        const gone = await tl.trash.throwAway(run);
        if (gone.length) said(run, gone);
      }),
    ];
  }

  /** A run's card; kept while the list is read again, so that what is open or typed in it stays. */
  function card(id, said) {
    const { el, fill } = tl.dom;
    const top = el('div', {}), pictures = el('div', {}), deeds = el('div', { class: 'tl-row tl-tight' }), place = el('div', { 'aria-live': 'polite' });
    let sheets = null, order = null, drawnFor = '';
    const inner = el('div', {});
    const more = el('details', { class: 'tl-more', on: { toggle: () => more.open && sheets && sheets.refresh() } }, el('summary', {}, 'Compare, and check for leaks'), inner);
    const node = el('article', { class: 'tl-run', 'data-run': id }, top, pictures, deeds, place, more);

    function tools(run) {
      const signature = JSON.stringify([run.snapshots, run.settings]);
      if (signature === drawnFor) return;
      drawnFor = signature;
      order = tl.order.form(run);
      sheets = tl.sheets.list(run, () => more.open && tl.tab.showing('results'));
      inner.replaceChildren(order.node, sheets.node);
      if (more.open) sheets.refresh();
    }
    function draw(run, busy) {
      fill(top, [run.name, run.state, run.error, run.notes, run.loras, facts(run), run.changes], () => head(run));
      fill(pictures, [run.snapshots, run.samples, run.loras, run.state], () => [run.samples.some((one) => one.index) || !run.snapshots.length && run.samples.length ? shots(run) : null,
        run.state === 'running' ? null : tl.keeping.snapshots(run, place)]);
      fill(deeds, [run.can_resume, run.loras, run.state, run.settings, busy], () => actions(run, busy, place, said));
      more.hidden = !run.snapshots.length || run.state === 'running';
      if (!more.hidden) tools(run);
    }
    return { node, draw, follow: () => sheets && sheets.follow(), status: () => order && order.draw(), settled: () => sheets && sheets.refresh() };
  }

  function panel() {
    const { el, fill, note, show } = tl.dom;
    const cards = new Map();
    const place = el('div', { class: 'tl-runs', id: 'train_lora_runs' });
    const nothing = el('p', { class: 'tl-empty', hidden: true }, 'No run yet. What you train is listed here, with its recipe.');
    const message = el('div', { 'aria-live': 'polite' });
    const trash = tl.trash.panel(), base = tl.base.panel();
    let asked = 0;

    function said(run, gone) {
      fill(message, gone, () => note('ok', `${run.name} is in the trash.`, '', ' ', tl.dom.link('Undo', () => tl.parts.busy(message, message, () => tl.trash.restore(gone)))));
      refresh();
    }
    function draw(runs) {
      const busy = Boolean(tl.status && tl.status.job);
      for (const [id, one] of cards) {
        if (runs.some((run) => run.id === id)) continue;
        one.node.remove();
        cards.delete(id);
      }
      runs.forEach((run, index) => {
        if (!cards.has(run.id)) cards.set(run.id, card(run.id, said));
        const { node, draw: redraw } = cards.get(run.id);
        if (place.children[index] !== node) place.insertBefore(node, place.children[index] || null);
        redraw({ loras: [], samples: [], snapshots: [], ...run, changes: tl.changes.of(runs, index) }, busy);
      });
      show(nothing, !runs.length);
    }
    async function refresh() {
      if (!tl.tab.showing('results')) return;
      const mine = (asked += 1);
      try {
        const { runs } = await tl.api.get('runs');
        if (mine !== asked) return;
        draw(runs);
        await trash.refresh();
        await base.refresh();
      } catch (error) {
        fill(message, [error.message, Date.now()], () => note('bad', error.message, error.remedy));
      }
    }
    let busy = null;
    tl.on('tab', refresh);
    tl.on('kept', () => {
      fill(message, null, () => null);
      refresh();
    });
    tl.on('ended', (id) => {
      refresh();
      if (id.startsWith('sheet-')) for (const one of [base, ...cards.values()]) one.settled();
    });
    tl.on('run', (run) => run && run.outcome && refresh());
    tl.on('status', (status) => {
      if (!tl.tab.showing('results')) return;
      const now = status.job ? status.job.id : '';
      if (now !== busy) {
        busy = now;
        refresh();
        for (const one of cards.values()) one.status();
      }
      for (const one of [base, ...cards.values()]) one.follow();
    });
    return el('section', {}, message, base.node, nothing, place, trash.node);
  }

  tl.results = { panel };
})(trainLora);
