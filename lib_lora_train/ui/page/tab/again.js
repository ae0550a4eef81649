// "Train again" from a LoRA card: its recipe comes into the form, and a panel says what came with the file.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const SOURCES = {
    ours: 'Its recipe is complete.',
    other: 'Its recipe comes from another trainer; what could be carried over is set.',
    none: 'The file says nothing about its training; the recipe is the default.',
  };
  let drawPanel = () => {};

  /** Where its pictures lay, when it was trained here; files carry no folders. Else those of the form stay. */
  async function folders(name) {
    const { runs } = await tl.api.get('runs');
    const run = runs.find((one) => one.settings && one.loras.some((lora) => lora.name === name));
    const { train_data_dir, reg_data_dir } = run ? run.settings : tl.recipe.values;
    return { train_data_dir, reg_data_dir };
  }

  /** Open the tab with the recipe of the LoRA `name`, as its card is called. */
  async function open(name) {
    tl.host.switchTo('tab_train_lora');
    tl.tab.select('recipe');
    try {
      const answer = await tl.api.get('lora', { name });
      tl.recipe.replace({ output_name: name, ...answer.settings, network_weights: '', ...await folders(name) });
      drawPanel({ name, ...answer });
    } catch (error) {
      drawPanel({ name, error });
    }
  }

  function choice(label, value, weights) {
    const { el } = tl.dom;
    const input = el('input', {
      type: 'radio', name: 'train_lora_from', checked: !value, on: { change: () => tl.recipe.set('network_weights', value ? weights : '') },
    });
    return el('label', { class: 'tl-choice' }, input, ' ' + label);
  }

  const listed = (lines, what) => (lines.length
    ? tl.dom.el('details', {}, tl.dom.el('summary', {}, `${tl.fmt.plural(lines.length, 'setting')} ${what}`), tl.dom.el('p', {}, lines.join(', '))) : null);

  function contents(found) {
    const { el, note, button } = tl.dom;
    const close = button('Close', () => drawPanel(null));
    if (found.error) return note('bad', found.error.message, found.error.remedy, ' ', close);
    // folders are in no file; those found again are no loss
    const foundAgain = (one) => ['train_data_dir', 'reg_data_dir'].some((name) => one.startsWith(name) && tl.recipe.values[name]);
    const lost = (found.not_carried || []).filter((one) => !foundAgain(one));
    return el('div', { class: 'tl-note tl-ok' },
      el('p', {}, 'Train ', el('b', {}, found.name), ' again. ', SOURCES[found.source] || ''),
      el('div', { class: 'tl-row', role: 'radiogroup', 'aria-label': 'Where to start from' },
        choice('from scratch', '', ''), choice('continue from its weights', 'weights', found.file || found.name), close),
      listed(lost, 'not carried over'), listed(found.translated || [], 'said differently here'));
  }

  function panel() {
    const { el, fill } = tl.dom;
    const place = el('div', { id: 'train_lora_again', 'aria-live': 'polite' });
    drawPanel = (found) => fill(place, found && [found.name, found.source, found.not_carried, found.error && found.error.message, Date.now()],
      () => found && contents(found));
    return place;
  }

  tl.again = { panel, open };
})(trainLora);
