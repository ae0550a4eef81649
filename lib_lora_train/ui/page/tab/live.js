// Asks the server how things stand: once a second while a run is watched, every few seconds otherwise, slower without a network.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const WATCHED = 1000, IDLE = 4000, UNSEEN = 10000, SLOWEST = 30000;
  const CHUNK = 500; // an answer this long may not be the last one

  tl.status = null; // last answer of `status`
  tl.current = null; // the run shown: the one that is on, else the last one
  let timer = 0, asking = false, failures = 0, lastAsked = 0;
  let on = ''; // the run that was on when last heard of
  let kept = null; // what the browser remembers of it

  const seen = () => !document.hidden && tl.tab && tl.tab.visible();

  function pause() {
    if (failures) return Math.min(SLOWEST, WATCHED * 2 ** failures);
    if (!seen()) return UNSEEN;
    return tl.status && tl.status.job ? WATCHED : IDLE;
  }

  function plan(ms) {
    clearTimeout(timer);
    timer = setTimeout(tick, ms);
  }

  /** Read the run's new events. True when there were any. */
  async function follow(run) {
    let any = false;
    for (let round = 0; round < 100; round += 1) {
      const answer = await tl.api.get('events', { run: run.id, after: run.after });
      for (const event of answer.events) tl.run.apply(run, event);
      any = any || answer.events.length > 0;
      const advanced = answer.next !== run.after;
      run.after = answer.next;
      if (answer.events.length < CHUNK || !advanced) break;
    }
    return any;
  }

  /** Show a run: the one that is on, or a finished one from the list. */
  async function watch(id, name) {
    if (!tl.current || tl.current.id !== id) {
      tl.current = tl.run.create(id, name);
      tl.store.set('run', id);
      tl.emit('run', tl.current);
    }
    if (await follow(tl.current)) tl.emit('run', tl.current);
  }

  /** A run this page has just begun or continued: it may be over before the server is asked for the first time. */
  async function began(id, name) {
    on = id;
    await watch(id, name);
    poke();
  }

  async function refresh() {
    const was = on;
    const status = await tl.api.get('status');
    if (on !== was) return refresh(); // asked before the click that began a run
    tl.status = status;
    const job = status.job, now = job ? job.id : '';
    tl.emit('status', status);
    if (now !== kept) tl.store.set('on', kept = now); // a page loaded meanwhile knows by it that there is something to watch
    if (job && (seen() || now !== was)) await watch(now, job.name);
    const ended = was && now !== was;
    if (ended && tl.current && tl.current.id === was) await watch(was);
    if (on === was) on = now; // not before all was read: a lost network must not lose the end of a run
    if (ended) tl.emit('ended', was);
    return undefined;
  }

  async function tick() {
    if (asking) return;
    asking = true;
    lastAsked = Date.now();
    try {
      await refresh();
      if (failures) tl.emit('network', null);
      failures = 0;
    } catch (error) {
      failures += 1;
      tl.emit('network', error);
    }
    asking = false;
    plan(pause());
  }

  /** Ask soon, but never more than once a second. */
  function poke() {
    if (!asking) plan(Math.max(0, lastAsked + WATCHED - Date.now()));
  }

  /** Ask at once, for what the user has just done. */
  async function now() {
    if (!asking) await tick();
  }

  /** Begin; a run that was shown before the page was loaded is found again. */
  async function start() {
    document.addEventListener('visibilitychange', poke);
    window.addEventListener('online', poke);
    await tick();
    const last = tl.store.get('run', '');
    if (tl.current || !last) return;
    try {
      await watch(last);
    } catch (error) {
      tl.current = null; // its folder is gone
      tl.store.set('run', '');
      tl.emit('run', null);
    }
  }

  tl.live = { start, poke, now, watch, began };
})(trainLora);
