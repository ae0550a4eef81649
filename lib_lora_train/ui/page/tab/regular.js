// Regularisation pictures that match the data set: how many are there, one click to have the missing ones drawn, undo.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const WHAT = 'One picture per training picture, drawn by the loaded checkpoint with the same caption, size and seed (DDIM). '
    + 'For training in DreamBooth’s way: the subject is learned, the rest of its class stays as it is. Twice the steps; not for styles.';

  function standing(found) {
    const { wanted, there, missing, outdated } = found;
    if (there === wanted) return `All ${tl.fmt.whole(wanted)} are there.`;
    return [`${tl.fmt.whole(there)} of ${tl.fmt.whole(wanted)} are there.`, missing && `${tl.fmt.whole(missing)} are missing.`,
      outdated && `${tl.fmt.whole(outdated)} were drawn with another caption, recipe or checkpoint and will be drawn anew.`].filter(Boolean).join(' ');
  }

  function part() {
    const { el, show, text, button, link } = tl.dom;
    const line = el('p', { id: 'train_lora_regular_line', 'aria-live': 'polite' });
    const place = el('div', { 'aria-live': 'polite' });
    let found = null, asked = 0;

    const settings = () => ({ settings: tl.recipe.values });

    async function look() {
      const check = tl.recipe.check, turn = asked += 1;
      const usable = check && check.pictures && check.pictures.count;
      const answer = usable && body.open ? await tl.api.post('regularise/look', settings(), 300).catch((error) => ({ error })) : null;
      if (turn !== asked) return;
      found = answer && !answer.error ? answer : null;
      text(line, found ? standing(found) : answer ? `${answer.error.message} ${answer.error.remedy}` : 'Choose pictures first.');
      make.disabled = !found || found.there === found.wanted;
      show(remove, found && found.there + found.outdated > 0);
    }

    const make = button('Make matching regularisation pictures', () => tl.parts.busy(make, place, async () => {
      const { run } = await tl.api.post('regularise', settings(), 300);
      await tl.live.began(run, 'Regularisation pictures');
    }), { id: 'train_lora_regularise', disabled: true });
    const remove = link('Delete those that were made', () => tl.parts.busy(remove, place, async () => {
      if (!window.confirm('Delete the regularisation pictures that were made here? Your own stay.')) return;
      await tl.api.post('regularise/undo', settings(), 300);
      await tl.recipe.recheckNow();
    }), { id: 'train_lora_regular_undo', hidden: true });
    const body = el('details', { class: 'tl-regular', on: { toggle: look } }, el('summary', {}, 'Regularisation pictures'),
      el('p', { class: 'tl-dim' }, WHAT), line, el('div', { class: 'tl-row tl-tight' }, make, remove), place);

    tl.on('check', look);
    tl.on('ended', (id) => id.startsWith('regularise-') && tl.recipe.recheckNow());
    return body;
  }

  tl.regular = { part };
})(trainLora);
