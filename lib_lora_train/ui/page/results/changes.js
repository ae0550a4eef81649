// How a run's recipe differs from that of the run before. Pure.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const WORDS = ['output_name', 'training_comment', 'recipe_version']; // say nothing about how it was trained

  const shown = (value) => (value === true ? 'on' : value === false ? 'off' : value === '' ? 'none' : typeof value === 'number' ? tl.fmt.number(value) : String(value));

  /** `[text]`, such as “Rank 32 → 16”. */
  function between(before, after) {
    return Object.keys(after).filter((name) => !WORDS.includes(name) && before[name] !== after[name] && name in before).map((name) => {
      const field = tl.recipe.fields[name];
      return `${field ? field.label : name} ${shown(before[name]).slice(0, 60)} → ${shown(after[name]).slice(0, 60)}`;
    });
  }

  /** Of `runs[index]` to the next older one that has a recipe; null for the first. */
  function of(runs, index) {
    const before = runs.slice(index + 1).find((run) => run.settings);
    return before && runs[index].settings ? { name: before.name, list: between(before.settings, runs[index].settings) } : null;
  }

  tl.changes = { between, of };
})(trainLora);
