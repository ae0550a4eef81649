// Putting a drawn picture into the training set, and on to the next training with it.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  /** Into the pictures of the recipe in the form; those of the run when the form has none. */
  async function fromSheet(run, sheet, item) {
    const folder = (run && run.settings && run.settings.train_data_dir) || tl.recipe.values.train_data_dir || '';
    const answer = await tl.api.post('collect', { folder, run: run ? run.id : '', sheet: sheet.id, cell: item.index });
    if (!tl.recipe.values.train_data_dir || tl.recipe.values.train_data_dir === folder) tl.recipe.set('train_data_dir', answer.folder);
    tl.emit('collected', { run, ...answer });
    return `It lies in the training set now, with its caption: ${tl.fmt.plural(answer.count, 'picture')}.`;
  }

  tl.collect = { fromSheet };
})(trainLora);
