// One run as its events tell it: points of the curve, samples, log, outcome. Pure bookkeeping, bounded in size.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const STAGES = {
    borrow: 'Borrowing the checkpoint', scan: 'Reading the pictures', latents: 'Encoding pictures', text: 'Encoding captions',
    sample: 'Drawing samples', draw: 'Drawing pictures', measure: 'Measuring steps', save: 'Saving', publish: 'Publishing',
  };
  const POINTS = 4000; // above this every second point of the curve goes
  const LINES = 300;

  function create(id, name) {
    return {
      id, name: name || '', after: 0, points: [], stride: 1, seen: 0, progress: null, phase: null, samples: [], log: [],
      published: null, measured: null, paused: '', outcome: null, changed: {},
      chore: !/^\d/.test(id), // drawing or measuring, no training
    };
  }

  function say(run, event, kind, message, remedy) {
    run.log.push({ t: event.t, kind, message, remedy: remedy || '' });
    if (run.log.length > LINES) run.log.splice(0, run.log.length - LINES);
  }

  function addPoint(run, event) {
    run.progress = event;
    run.phase = null;
    run.seen += 1;
    if (run.seen % run.stride) return;
    const last = run.points[run.points.length - 1];
    if (last && event.step <= last.step) { // a run that went on from its saved state tells some steps again
      run.points = run.points.filter((point) => point.step < event.step);
    }
    run.points.push({ step: event.step, loss: event.loss, smooth: event.loss_smooth, lr: event.lr });
    if (run.points.length > POINTS) {
      run.points = run.points.filter((point, index) => index % 2 === 1);
      run.stride *= 2;
    }
  }

  function addSample(run, event) {
    run.samples = run.samples.filter((old) => old.step !== event.step || old.index !== event.index);
    run.samples.push({ step: event.step, index: event.index, prompt: event.prompt, seed: event.seed, path: event.path });
  }

  const RULES = {
    Phase(run, event) {
      run.phase = event;
      const last = run.log[run.log.length - 1];
      if (event.text && event.name !== 'sample' && (!last || last.message !== event.text)) say(run, event, 'info', event.text);
    },
    Progress: addPoint,
    Sampled: addSample,
    Snapshot: (run, event) => say(run, event, 'info', event.final ? 'The last file is written.' : `Snapshot of step ${event.step} is written.`),
    Warned: (run, event) => say(run, event, 'warn', event.text, event.remedy),
    Paused(run, event) {
      run.paused = event.text || 'Paused.';
      say(run, event, event.reason === 'user' ? 'info' : 'warn', run.paused);
    },
    Resumed(run, event) {
      run.paused = '';
      run.outcome = null;
      say(run, event, 'info', 'Goes on.');
    },
    Changed(run, event) {
      Object.assign(run.changed, event.saving);
      say(run, event, 'info', `Changed: ${Object.keys(event.saving).map((name) => (tl.recipe.fields[name] || { label: name }).label.toLowerCase()).join(', ')}.`);
    },
    Published(run, event) {
      run.published = event;
      run.name = event.name;
      say(run, event, 'info', `<lora:${event.name}:1> is the snapshot of step ${event.step}.`);
    },
    Finished(run, event) {
      run.outcome = event;
      run.phase = null;
      say(run, event, 'info', event.reason === 'done' ? 'Finished.' : 'Stopped; what was trained is kept.');
    },
    Measured(run, event) {
      run.measured = event;
    },
    Done(run, event) {
      run.outcome = event;
      run.phase = null;
      say(run, event, 'info', event.text);
    },
    Failed(run, event) {
      run.outcome = event;
      run.phase = null;
      say(run, event, 'bad', event.text, event.remedy);
    },
  };

  /** Take one event in; kinds of a newer version are ignored. */
  function apply(run, event) {
    const rule = RULES[event.event];
    if (rule) rule(run, event);
  }

  /** `{done, total, text}` of what goes on now: steps, or the stage before them. */
  function standing(run) {
    const { phase, progress } = run;
    const name = phase ? phase.name : '';
    if (name in STAGES && (!progress || phase.t > progress.t)) {
      const words = name === 'sample' ? STAGES.sample : phase.text || STAGES[name];
      if (!progress) return { done: phase.done, total: phase.total, text: words };
      return { done: progress.step, total: progress.total_steps, text: `${words} at step ${tl.fmt.whole(progress.step)}` };
    }
    if (!progress) return { done: 0, total: 0, text: 'Starting' };
    const steps = `step ${tl.fmt.whole(progress.step)} of ${tl.fmt.whole(progress.total_steps)}`;
    const epoch = progress.epochs > 1 ? `, epoch ${progress.epoch} of ${progress.epochs}` : '';
    return { done: progress.step, total: progress.total_steps, text: steps + epoch };
  }

  tl.run = { create, apply, standing };
})(trainLora);
