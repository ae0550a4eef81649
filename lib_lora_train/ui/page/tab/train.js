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

  async function post(confirm) {
    return tl.api.post('start', { settings: tl.recipe.values, confirm_overwrite: confirm }, 300);
  }

  /** Asks before overwriting; gives the run's id, or null when the user thought better of it. */
  async function begin() {
    try {
      return (await post(false)).run;
    } catch (error) {
      if (error.status !== 409 || error.field !== 'output_name') throw error;
      const name = tl.recipe.values.output_name;
      const other = nextName(name);
      const answer = await tl.parts.ask(`“${name}” exists already`, error.message + ' ' + error.remedy,
        [[`Train as ${other}`, 'other', true], ['Overwrite', 'overwrite'], ['Cancel', null]]);
      if (!answer) return null;
      if (answer === 'overwrite') return (await post(true)).run;
      tl.recipe.set('output_name', other);
      return begin();
    }
  }

  /** Start a run of the recipe as it stands and show it. */
  async function start() {
    if (starting) return;
    const wrong = Object.keys(tl.recipe.invalid)[0];
    if (wrong) {
      tl.recipePanel.reveal(wrong);
      throw Object.assign(new Error(`“${tl.recipe.fields[wrong].label}”: ${tl.recipe.invalid[wrong]}`), { remedy: '' });
    }
    starting = true;
    tl.emit('starting', true);
    try {
      const run = await begin();
      if (!run) return;
      await tl.live.began(run, tl.recipe.values.output_name);
      tl.tab.select('bake');
    } catch (error) {
      if (error.field in tl.recipe.fields && !['output_name', 'train_data_dir'].includes(error.field)) tl.recipePanel.reveal(error.field);
      throw error;
    } finally {
      starting = false;
      tl.emit('starting', false);
    }
  }

  function controls() {
    const { el, button, text } = tl.dom;
    const place = el('div', { 'aria-live': 'polite' });
    const why = el('p', { class: 'tl-dim' });
    const node = button('Train', () => tl.parts.busy(node, place, start).then(draw), { class: 'tl-button tl-go tl-big', id: 'train_lora_train' });

    function reason() {
      if (tl.status && tl.status.job) return 'A run is on; wait for it, or stop it.';
      if (tl.status && tl.status.host.problem) return tl.status.host.problem;
      return '';
    }
    function draw() {
      node.disabled = starting || Boolean(reason());
      text(node, starting ? 'Starting…' : 'Train');
      text(why, reason());
    }
    tl.on('status', draw);
    tl.on('starting', draw);
    return el('div', {}, node, why, place);
  }

  tl.train = { start, controls, nextName };
})(trainLora);
