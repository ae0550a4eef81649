// How elaborate the subject is, from A to I: sets rank and steps over the recipe's.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const USUAL = 2; // where the slider stands before it is touched

  function said(chosen, levels) {
    if (!chosen) return 'As the recipe says';
    const one = levels.classes[chosen.level];
    return `${one.letter}: ${one.examples}`;
  }

  function effect(chosen, levels) {
    const { values } = tl.recipe;
    if (!chosen) return 'Simple subjects need a lower rank and fewer steps. Move the slider to set both.';
    if (!levels.networks.includes(values.network_type)) return `The classes are for ${levels.networks.join(' and ')}; the recipe’s ${values.network_type} keeps its rank.`;
    const one = levels.classes[chosen.level];
    const usual = one.low === one.high ? `rank ${one.low}` : `rank ${one.low} to ${one.high}`;
    const length = values.max_train_epochs ? '' : `, ${tl.fmt.plural(values.max_train_steps, 'step')}`;
    return `Usually ${usual}. Now rank ${values.network_dim}${length}.`;
  }

  function control() {
    const { el, text, show, attr, link } = tl.dom;
    const id = 'train_lora_difficulty';
    const now = el('b', {});
    const result = el('div', { class: 'tl-help', id: `${id}_help`, 'aria-live': 'polite' });
    const change = (part) => () => {
      const before = tl.recipe.difficulty || { level: Number(range.value), male: false, known: false };
      tl.recipe.setDifficulty({ ...before, ...part() });
    };
    const range = el('input', { type: 'range', id, min: 0, max: 8, step: 1, value: USUAL, 'aria-describedby': `${id}_help`, on: { input: change(() => ({ level: Number(range.value) })) } });
    const box = (label, name) => {
      const input = el('input', { type: 'checkbox', on: { change: change(() => ({ [name]: input.checked })) } });
      return [input, el('label', { class: 'tl-choice' }, input, ' ' + label)];
    };
    const [male, maleLabel] = box('a male character', 'male');
    const [known, knownLabel] = box('the checkpoint knows it already', 'known');
    const reset = link('as the recipe', () => tl.recipe.setDifficulty(null), { 'aria-label': 'Rank and steps as the recipe says' });
    const letters = el('div', { class: 'tl-scale', 'aria-hidden': 'true' });

    function draw() {
      const { difficulty: chosen, levels, ready } = tl.recipe;
      if (!ready) return;
      if (!letters.firstChild) letters.append(...levels.classes.map((one) => el('span', { title: one.examples }, one.letter)));
      range.max = levels.classes.length - 1;
      if (document.activeElement !== range) range.value = chosen ? chosen.level : USUAL;
      male.checked = Boolean(chosen && chosen.male);
      known.checked = Boolean(chosen && chosen.known);
      range.classList.toggle('tl-unset', !chosen);
      text(now, said(chosen, levels));
      attr(range, 'aria-valuetext', said(chosen, levels));
      text(result, effect(chosen, levels));
      show(reset, chosen);
    }
    tl.on('values', draw);
    return el('div', { class: 'tl-field tl-difficulty' },
      el('div', { class: 'tl-label' }, el('label', { for: id }, 'How elaborate is the subject? ', now), reset), range, letters,
      el('div', { class: 'tl-row' }, maleLabel, knownLabel), result);
  }

  tl.difficulty = { control };
})(trainLora);
