// The loop of training on one's best results: a drawn picture goes into the training set, then it is trained again.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const LOOP = ['dataset_repeats', 'max_train_epochs', 'save_every_n_epochs']; // what that card's others never are

  /** Into the pictures of the run (of the form's recipe when there is no run). Gives `{folder, count}`. */
  async function fromSheet(run, sheet, item) {
    const folder = (run && run.settings && run.settings.train_data_dir) || tl.recipe.values.train_data_dir || '';
    const answer = await tl.api.post('collect', { folder, run: run ? run.id : '', sheet: sheet.id, cell: item.index });
    if (!run) tl.recipe.set('train_data_dir', answer.folder);
    else if (tl.recipe.values.train_data_dir === answer.folder) tl.recipe.recheckNow();
    return answer;
  }

  /** The run's recipe once more under the next name, with the pictures that are there now. */
  async function again(run) {
    tl.recipe.replace({ ...run.settings, network_weights: '', output_name: tl.train.nextName(run.name) });
    await tl.train.start();
  }

  /** Whether it was trained by the card for a single picture. */
  function isLoop(run) {
    const card = tl.recipe.presets.find((one) => one.name === 'one-image');
    return Boolean(card && run.settings && LOOP.every((name) => run.settings[name] === card.values[name]));
  }

  function hint(run) {
    const { el } = tl.dom;
    return isLoop(run) ? el('p', { class: 'tl-help' }, 'From one picture to six: draw snapshots and strengths below, put the best pictures into the training set '
      + 'until there are 2, train again, then with 4, then with 6.') : null;
  }

  tl.collect = { fromSheet, again, hint };
})(trainLora);
