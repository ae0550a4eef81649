// Sub-tab Bake: the curves, numbers, rows of samples by step, what the run said, the queue.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const ROWS = 40; // more rows of samples are shown on request
  let last = null; // the newest training that was shown; other jobs have no curve

  /** Rows by step (newest first), columns by prompt. */
  function sampleTable(run, most, more) {
    const { el, button } = tl.dom;
    const columns = [...new Map(run.samples.map((one) => [one.index, one.prompt])).entries()].sort((a, b) => a[0] - b[0]);
    const all = [...new Set(run.samples.map((one) => one.step))].sort((a, b) => b - a);
    const steps = all.slice(0, most);
    const at = new Map(run.samples.map((one) => [`${one.step}/${one.index}`, one]));
    const src = (one) => tl.api.url(`runs/${encodeURIComponent(run.id)}/file`, { path: one.path, t: Math.round(one.t || 0) });
    const items = steps.flatMap((step) => columns.map(([index]) => at.get(`${step}/${index}`)).filter(Boolean));
    const shown = items.map((one) => ({ src: src(one), caption: one.prompt, detail: `step ${one.step}, seed ${one.seed}` }));
    const cell = (step, index) => {
      const one = at.get(`${step}/${index}`);
      if (!one) return el('td', {});
      return el('td', {}, el('button', { type: 'button', class: 'tl-shot', on: { click: () => tl.look.pictures(shown, items.indexOf(one)) } },
        el('img', { src: src(one), loading: 'lazy', alt: `${one.prompt}, step ${step}` })));
    };
    return [el('table', { class: 'tl-samples', style: `--tl-columns:${columns.length}` },
      el('thead', {}, el('tr', {}, el('th', {}, 'Step'), columns.map(([, prompt]) => el('th', { scope: 'col', title: prompt }, prompt || 'no prompt')))),
      el('tbody', {}, steps.map((step) => el('tr', {}, el('th', { scope: 'row' }, step ? tl.fmt.whole(step) : 'before'), columns.map(([index]) => cell(step, index)))))),
    all.length > most ? button(`Show all ${all.length} rows`, more) : null];
  }

  function facts(run) {
    const { progress } = run;
    if (!progress) return [];
    const rates = Object.entries(progress.lr || {}).slice(0, 4).map(([name, rate]) => `rate ${name.replace(/_/g, ' ')} ${tl.fmt.number(rate)}`);
    return [...rates, progress.memory_gb > 0 ? `memory ${tl.fmt.memory(progress.memory_gb)}` : '', tl.fmt.speed(progress.it_per_s),
      progress.skipped ? `${tl.fmt.plural(progress.skipped, 'step')} skipped (loss not finite)` : ''].filter(Boolean);
  }

  function logLines(run) {
    const { el } = tl.dom;
    return [...run.log].reverse().map((line) => el('li', { class: `tl-log-${line.kind}` },
      el('time', {}, line.t ? new Date(line.t * 1000).toLocaleTimeString() : ''), ' ', line.message,
      line.remedy ? el('span', { class: 'tl-remedy' }, ' ' + line.remedy) : null));
  }

  function empty() {
    const { el, link } = tl.dom;
    return el('p', { class: 'tl-empty' }, 'Nothing bakes yet. ', link('Choose pictures', () => tl.tab.select('pictures')), ', then ',
      link('a recipe', () => tl.tab.select('recipe')), '.');
  }

  function usable(run) {
    const { el } = tl.dom;
    if (!run.published || run.outcome) return null;
    return el('p', { class: 'tl-dim' }, 'You can generate in txt2img meanwhile; ', el('b', {}, `<lora:${run.published.name}:1>`),
      ` is the snapshot of step ${tl.fmt.whole(run.published.step)}.`);
  }

  function panel() {
    const { el, fill, show, text } = tl.dom;
    const title = el('h3', {});
    const chart = tl.chart.chart();
    const numbers = el('p', { class: 'tl-head', id: 'train_lora_numbers' });
    const meanwhile = el('div', {}), trouble = el('div', { 'aria-live': 'polite' });
    const samples = el('div', { class: 'tl-scroll tl-tall', id: 'train_lora_samples' });
    const log = el('ul', { class: 'tl-log', id: 'train_lora_log' });
    const nothing = el('div', {}, empty());
    let rows = ROWS;
    const body = el('div', { hidden: true }, el('div', { class: 'tl-row' }, title, tl.ending.control()), meanwhile,
      el('div', { class: 'tl-cols tl-even' },
        el('div', {}, el('div', { class: 'tl-panel' }, chart.node, numbers, el('div', { class: 'tl-row tl-tight' }, tl.saving.buttons(chart, trouble)), trouble),
          el('div', { class: 'tl-panel' }, el('h3', {}, 'Log'), log)),
        el('div', { class: 'tl-panel' }, el('h3', {}, 'Samples'), tl.wishes.panel(), samples)));

    function draw() {
      if (tl.current && !tl.current.chore && tl.current !== last) {
        last = tl.current;
        rows = ROWS;
      }
      const run = last;
      show(nothing, !run);
      show(body, run);
      if (!run || !tl.tab.showing('bake')) return;
      text(title, run.name || run.id);
      chart.set(run.points, run.progress ? run.progress.total_steps : 0);
      fill(numbers, facts(run), (list) => list.map((one) => el('span', {}, one)));
      fill(meanwhile, [run.published, run.outcome], () => usable(run));
      fill(samples, [run.id, run.samples, rows], () => (run.samples.length ? sampleTable(run, rows, () => {
        rows = Infinity;
        draw();
      }) : el('p', { class: 'tl-dim' }, 'Samples appear here while it bakes, the same seeds in every row. “Sample now” draws one.')));
      fill(log, run.log, () => logLines(run));
    }
    tl.on('run', draw);
    tl.on('tab', draw);
    return el('section', {}, nothing, body, tl.queue.panel());
  }

  tl.bake = { panel, run: () => last };
})(trainLora);
