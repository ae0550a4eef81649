// The recipe being edited: values by field name, the preset they are measured against, and the server's check of them.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  // What belongs to this one LoRA: choosing a preset leaves it alone, and it never counts as "changed".
  const OWN = ['output_name', 'output_folder', 'trigger_word', 'activation_text', 'training_comment', 'train_data_dir',
    'reg_data_dir', 'conditioning_data_dir', 'network_weights', 'sample_prompts', 'sample_negative'];

  const recipe = {
    ready: false, groups: [], fields: {}, presets: [], own: [], levels: null, preset: '', difficulty: null, values: {}, base: {},
    invalid: {}, check: null, problem: null, checking: false,
  };

  /** A preset's card, or one of the user's own recipes (`own/name`). */
  const card = (name) => recipe.presets.find((one) => one.name === name) || recipe.own.find((one) => `own/${one.name}` === name);

  /** Rank and steps by how elaborate the subject is; the alpha keeps its share of the rank. */
  function levelValues(values) {
    const chosen = recipe.difficulty, table = recipe.levels;
    if (!chosen || !table || !table.networks.includes(values.network_type || recipe.base.network_type)) return {};
    const place = 2 * (chosen.level + (chosen.male ? table.male : 0) - (chosen.known ? table.known : 0));
    const { rank, steps } = table.halves[Math.min(Math.max(Math.round(place), 0), table.halves.length - 1)];
    const [alpha, dim] = [values.network_alpha || recipe.base.network_alpha, values.network_dim || recipe.base.network_dim];
    const length = values.max_train_epochs ? {} : { max_train_steps: steps };
    return { network_dim: rank, network_alpha: alpha === 1 ? 1 : Math.max(1, Math.round((alpha / dim) * rank)), ...length };
  }

  /** Values a preset sets, with those of the difficulty over them. */
  function presetValues(name) {
    const found = card(name);
    if (!found) return {};
    return name.startsWith('own/') ? found.values : { ...found.values, ...levelValues(found.values) };
  }

  /** What still is as the preset has it follows `change`; what was set by hand stays. */
  function follow(change) {
    const before = presetValues(recipe.preset);
    change();
    moved(before);
  }

  function moved(before) {
    const after = presetValues(recipe.preset);
    for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
      const was = name in before ? before[name] : recipe.base[name];
      if (recipe.values[name] === was) recipe.values[name] = name in after ? after[name] : recipe.base[name];
    }
  }

  /** The preset all of whose values are set, the most telling one; '' when there is none. */
  function recognised() {
    const size = (preset) => Object.keys(presetValues(preset.name)).length;
    const fits = (preset) => Object.entries(presetValues(preset.name)).every(([name, value]) => recipe.values[name] === value);
    const found = recipe.presets.filter(fits).sort((a, b) => size(b) - size(a))[0];
    return found ? found.name : '';
  }

  const reference = (name) => {
    const values = presetValues(recipe.preset);
    return name in values ? values[name] : recipe.base[name];
  };

  const isChanged = (name) => !OWN.includes(name) && recipe.values[name] !== reference(name);

  const changed = () => Object.keys(recipe.fields).filter(isChanged);

  function known(settings) {
    return Object.fromEntries(Object.entries(settings || {}).filter(([name]) => name in recipe.fields));
  }

  /** Take the schema in, then what this browser remembers, else what the page came with (`given`), else the newest
   * run's recipe, else the first preset. */
  function load(schema, host, given) {
    recipe.groups = schema.groups;
    recipe.presets = schema.presets;
    recipe.levels = schema.difficulty;
    recipe.own = schema.recipes;
    fittedTo = loadedNow();
    for (const group of schema.groups) for (const field of group.fields) recipe.fields[field.name] = field;
    recipe.base = { ...schema.defaults, ...known(host.defaults) };
    recipe.values = { ...recipe.base };
    const kept = tl.store.get('recipe', null);
    if (kept) {
      recipe.preset = card(kept.preset) ? kept.preset : '';
      recipe.difficulty = kept.difficulty || null;
      Object.assign(recipe.values, known(kept.values));
      moved(known(kept.reference)); // the presets may be fitted to another checkpoint by now
    } else if (given || schema.last) {
      Object.assign(recipe.values, known(given || schema.last));
      recipe.preset = recognised();
    } else if (recipe.presets.length) {
      recipe.preset = recipe.presets[0].name;
      Object.assign(recipe.values, presetValues(recipe.preset));
    }
    recipe.ready = true;
    tl.emit('schema', recipe);
    touched(null);
  }

  function touched(name) {
    const values = Object.entries(recipe.values).filter(([field, value]) => value !== recipe.base[field]);
    tl.store.set('recipe', {
      preset: recipe.preset, difficulty: recipe.difficulty, reference: presetValues(recipe.preset), values: Object.fromEntries(values),
    });
    tl.emit('values', name);
    recheck();
  }

  function set(name, value) {
    delete recipe.invalid[name];
    if (recipe.values[name] === value) return tl.emit('values', name);
    recipe.values[name] = value;
    return touched(name);
  }

  /** Remember that what stands in the field is no value; training waits until it is one. */
  function refuse(name, message) {
    recipe.invalid[name] = message;
    tl.emit('values', name);
  }

  const reset = (name) => set(name, reference(name));

  /** Values of the old preset go back, those of the new one come; other changes stay. */
  function choose(name) {
    follow(() => { recipe.preset = name; });
    Object.assign(recipe.values, presetValues(name));
    recipe.invalid = {};
    touched(null);
  }

  /** `{level, male, known}`, or null: as the recipe says. */
  function setDifficulty(chosen) {
    follow(() => { recipe.difficulty = chosen; });
    touched(null);
  }

  /** The user's own recipes as they are now; one that is chosen may have a new name, or be gone. */
  function setOwn(list, renamed) {
    recipe.own = list;
    if (renamed && recipe.preset === `own/${renamed[0]}`) recipe.preset = `own/${renamed[1]}`;
    if (!card(recipe.preset)) recipe.preset = recognised();
    tl.emit('presets', recipe);
    touched(null);
  }

  const loadedNow = () => {
    const { checkpoint, family, prediction, memory_total_gb: total } = (tl.status && tl.status.host) || {};
    return JSON.stringify([checkpoint, family, prediction, Math.round(total || 0)]);
  };
  let fittedTo = '';

  /** Presets are fitted to what is loaded: with another checkpoint they are asked for again. */
  async function refit() {
    if (!recipe.ready || fittedTo === loadedNow()) return;
    fittedTo = loadedNow();
    try {
      const { presets } = await tl.api.get('presets');
      follow(() => { recipe.presets = presets; });
      tl.emit('presets', recipe);
      touched(null);
    } catch (error) {
      fittedTo = ''; // asked again with the next status
    }
  }

  tl.on('status', refit);

  /** Another recipe as a whole (from a card, a run, a file); what it does not name goes to the default. */
  function replace(settings) {
    recipe.values = { ...recipe.base, ...known(settings) };
    recipe.invalid = {};
    recipe.difficulty = null;
    recipe.preset = recognised();
    touched(null);
  }

  /** All that is set, to come back to. */
  function remember() {
    const { values, preset, difficulty } = recipe;
    return { values: { ...values }, preset, difficulty };
  }

  function restore(before) {
    Object.assign(recipe, before);
    recipe.invalid = {};
    touched(null);
  }

  /** Some values over the present ones. */
  function merge(settings) {
    Object.assign(recipe.values, known(settings));
    recipe.invalid = {};
    touched(null);
  }

  let again = false;

  async function check() {
    if (!recipe.ready) return;
    if (recipe.checking) {
      again = true;
      return;
    }
    recipe.checking = true;
    tl.emit('checking', true);
    try {
      recipe.check = !recipe.values.train_data_dir ? null : await tl.api.post('check', { settings: recipe.values }, 300);
      recipe.problem = null;
    } catch (error) {
      if (error.status !== 0) recipe.check = null;
      recipe.problem = error;
    }
    recipe.checking = false;
    if (again) {
      again = false;
      return check();
    }
    return tl.emit('check', recipe);
  }

  const recheck = tl.later(check, 400);

  /** Advice of the server at one field: `[{text, level}]`. */
  function adviceAt(name) {
    const found = ((recipe.check && recipe.check.advice) || []).filter((item) => item.field === name);
    const problem = recipe.problem;
    return problem && problem.field === name ? [{ text: problem.message, level: 'error' }, ...found] : found;
  }

  tl.recipe = Object.assign(recipe, {
    load, set, refuse, reset, choose, setDifficulty, setOwn, replace, merge, remember, restore, card, recheckNow: check, recheck, reference,
    isChanged, changed, adviceAt, OWN,
  });
})(trainLora);
