// The head line (what is loaded) and the run bar (what bakes), both above the sub-tabs.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  function item(label, value) {
    const { el } = tl.dom;
    return value ? el('span', {}, label ? label + ' ' : null, el('b', {}, value)) : null;
  }

  function headItems(host) {
    const { el } = tl.dom;
    const kind = [host.family, host.prediction, host.precision].filter(Boolean).join(', ');
    const memory = host.memory_total_gb > 0
      ? `${host.memory_used_gb.toFixed(1)} of ${host.memory_total_gb.toFixed(1)} GB` : '';
    return [
      el('span', {}, el('b', {}, host.checkpoint || 'No checkpoint loaded'), kind ? ' ' + kind : null),
      item('VAE', host.vae), item('Memory', memory),
      item('CLIP skip', host.clip_skip > 1 ? String(host.clip_skip) : ''),
      el('span', { class: host.busy ? 'tl-busy' : 'tl-idle' }, host.busy || 'idle'),
      el('span', { class: 'tl-end' }, host.host),
    ];
  }

  function head() {
    const { el, fill, note } = tl.dom;
    const line = el('div', { class: 'tl-head', id: 'train_lora_head' }, 'Asking the web UI what is loaded…');
    const trouble = el('div', { 'aria-live': 'polite' });
    tl.on('status', ({ host }) => {
      const job = tl.status.job;
      const shown = { ...host, busy: job && job.state === 'paused' ? 'paused' : job ? { train: 'baking', measure: 'measuring' }[job.kind] || 'drawing' : host.busy };
      fill(line, [shown.checkpoint, shown.family, shown.prediction, shown.precision, shown.vae, shown.clip_skip, shown.host,
        shown.busy, Math.round(shown.memory_used_gb * 10)], () => headItems(shown));
      fill(trouble, [host.problem, host.remedy, Boolean(job)], () => (host.problem && !job ? note('bad', host.problem, host.remedy) : null));
    });
    const network = el('div', { 'aria-live': 'polite' });
    tl.on('network', (error) => fill(network, error && [error.message, error.remedy], () => error
      && note('warn', error.message, error.status ? error.remedy : 'The run, if one is on, is not affected. Trying again…')));
    return el('header', {}, line, trouble, network);
  }

  const WISHES = [
    ['pause', 'Pause', 'Wait after this step; the graphics card is free meanwhile'],
    ['resume', 'Resume', 'Go on'],
    ['stop', 'Stop and keep', 'End after this step; what was trained so far becomes the LoRA'],
    ['sample', 'Sample now', 'Draw a row of samples after this step'],
    ['save', 'Save now', 'Write a snapshot after this step'],
  ];

  function wishes(place) {
    const { button } = tl.dom;
    return Object.fromEntries(WISHES.map(([route, label, title]) => {
      const node = button(label, () => tl.parts.busy(node, place, async () => {
        await tl.api.post(route);
        tl.live.poke();
      }), { title, id: `train_lora_${route}` });
      return [route, node];
    }));
  }

  function pace(progress) {
    const left = progress.eta_s > 0 ? `${tl.fmt.clock(progress.eta_s)} left` : '';
    return [tl.fmt.speed(progress.it_per_s), left].filter(Boolean).join(', ');
  }

  function runbar() {
    const { el, text, show } = tl.dom;
    const trouble = el('div', { 'aria-live': 'polite' });
    const nodes = { name: el('b', {}), step: el('span', {}), pace: el('span', { class: 'tl-dim' }), paused: el('div', { class: 'tl-note tl-warn' }) };
    const track = tl.parts.track('Progress of the run');
    const buttons = wishes(trouble);
    const bar = el('section', { class: 'tl-bar', id: 'train_lora_runbar', 'aria-label': 'The run that is on', hidden: true },
      el('div', { class: 'tl-row' }, nodes.name, track.node, nodes.step, nodes.pace,
        el('span', { class: 'tl-row tl-tight' }, Object.values(buttons))), nodes.paused, trouble);

    function draw() {
      const job = tl.status && tl.status.job;
      show(bar, job);
      if (!job) return;
      const waiting = job.state === 'paused';
      const now = tl.run.standing({ progress: job.progress, phase: waiting && job.progress ? null : job.phase });
      text(nodes.name, job.name);
      text(nodes.step, job.state === 'stopping' ? 'Stopping after this step…' : now.text);
      text(nodes.pace, !waiting && job.progress ? pace(job.progress) : '');
      track.set(now.done, now.total, now.text);
      bar.classList.toggle('tl-waiting', waiting);
      show(nodes.paused, waiting);
      text(nodes.paused, waiting ? job.paused_text || 'Paused.' : '');
      show(buttons.pause, !waiting && job.kind !== 'measure');
      show(buttons.resume, waiting);
      const training = job.kind === 'train';
      for (const name of ['sample', 'save']) show(buttons[name], training);
      text(buttons.stop, training ? 'Stop and keep' : 'Stop');
      for (const name of ['pause', 'stop', 'sample', 'save']) buttons[name].disabled = job.state === 'stopping';
    }

    tl.on('status', draw);
    return bar;
  }

  tl.head = { head, runbar, pace };
})(trainLora);
