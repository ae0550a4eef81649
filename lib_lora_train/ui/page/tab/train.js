// Starting: the Train button, the question before a LoRA is overwritten, and "train again" with another LoRA's recipe.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  let starting = false;

  /** The next name of the kind `name_v2`. */
  function nextName(name) {
    const match = /^(.*?)[_ -]?v(\d+)$/i.exec(name);
    return match ? `${match[1]}_v${Number(match[2]) + 1}` : `${name}_v2`;
  }

  const post = (route, confirm) => tl.api.post(route, { settings: tl.recipe.values, confirm_overwrite: confirm }, 300);

  /** Asks before overwriting; gives the answer, or null when the user thought better of it. */
  async function begin(route) {
    try {
      return await post(route, false);
    } catch (error) {
      if (error.status !== 409 || error.field !== 'output_name') throw error;
      const name = tl.recipe.values.output_name;
      const other = nextName(name);
      const answer = await tl.parts.ask(`“${name}” exists already`, error.message + ' ' + error.remedy,
        [[`Train as ${other}`, 'other', true], ['Overwrite', 'overwrite'], ['Cancel', null]]);
      if (!answer) return null;
      if (answer === 'overwrite') return post(route, true);
      tl.recipe.set('output_name', other);
      return begin(route);
    }
  }

  /** What is typed and is no value is shown, and nothing begun. */
  function checkTyped() {
    const wrong = Object.keys(tl.recipe.invalid)[0];
    if (wrong) {
      tl.recipePanel.reveal(wrong);
      throw Object.assign(new Error(`“${tl.recipe.fields[wrong].label}”: ${tl.recipe.invalid[wrong]}`), { remedy: '' });
    }
  }

  /** Post the recipe as it stands to `route`; `then(answer)` shows what came of it. */
  async function send(route, then) {
    if (starting) return;
    checkTyped();
    starting = true;
    tl.emit('starting', true);
    try {
      const answer = await begin(route);
      if (answer) await then(answer);
    } catch (error) {
      if (error.field in tl.recipe.fields && !['output_name', 'train_data_dir'].includes(error.field)) tl.recipePanel.reveal(error.field);
      throw error;
    } finally {
      starting = false;
      tl.emit('starting', false);
    }
  }

  /** Start a run and show it. */
  const start = () => send('start', async ({ run }) => {
    await tl.live.began(run, tl.recipe.values.output_name);
    tl.tab.select('bake');
  });

  /** To the end of the queue, which is shown in Bake. */
  const enqueue = () => send('queue/add', async () => {
    await tl.live.now();
    tl.tab.select('bake');
  });

  function controls() {
    const { el, button, text } = tl.dom;
    const place = el('div', { 'aria-live': 'polite' });
    const why = el('p', { class: 'tl-dim' });
    const node = button('Train', () => tl.parts.busy(node, place, start).then(draw), { class: 'tl-button tl-go tl-big', id: 'train_lora_train' });
    const later = button('Add to the queue', () => tl.parts.busy(later, place, enqueue).then(draw), { id: 'train_lora_enqueue', title: 'Train it after the others that wait; started in Bake' });

    function reason() {
      if (tl.status && tl.status.job) return 'A run is on; wait for it, or stop it.';
      if (tl.status && tl.status.host.problem) return tl.status.host.problem;
      return '';
    }
    function draw() {
      node.disabled = starting || Boolean(reason());
      later.disabled = starting || Boolean(tl.status && tl.status.host.problem);
      text(node, starting ? 'Starting…' : 'Train');
      text(why, reason());
    }
    tl.on('status', draw);
    tl.on('starting', draw);
    return el('div', {}, el('div', { class: 'tl-row tl-tight' }, node, later), why, el('p', {}, tl.baseAsk.link(place)), place);
  }

  tl.train = { start, controls, nextName };
})(trainLora);
