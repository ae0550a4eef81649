// The recipe being edited: values by field name, the preset they are measured against, and the server's check of them.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  // What belongs to this one LoRA: choosing a preset leaves it alone, and it never counts as "changed".
  const OWN = ['output_name', 'output_folder', 'trigger_word', 'activation_text', 'training_comment', 'train_data_dir',
    'reg_data_dir', 'network_weights', 'sample_prompts', 'sample_negative'];

  const recipe = {
    ready: false, groups: [], fields: {}, presets: [], preset: '', values: {}, base: {}, invalid: {},
    check: null, problem: null, checking: false,
  };

  /** Values a preset sets, for the model family that is loaded. */
  function presetValues(name) {
    const preset = recipe.presets.find((p) => p.name === name);
    if (!preset) return {};
    const family = ((tl.status && tl.status.host) || {}).family;
    return { ...preset.values, ...((preset.family_values || {})[family] || {}) };
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
    recipe.presets = Array.isArray(schema.presets) ? schema.presets : Object.values(schema.presets || {});
    for (const group of schema.groups) for (const field of group.fields) recipe.fields[field.name] = field;
    recipe.base = { ...schema.defaults, ...known(host.defaults) };
    recipe.values = { ...recipe.base };
    const kept = tl.store.get('recipe', null);
    if (kept) {
      recipe.preset = kept.preset || '';
      Object.assign(recipe.values, known(kept.values));
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
    tl.store.set('recipe', { preset: recipe.preset, values: Object.fromEntries(values) });
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
    const before = presetValues(recipe.preset);
    for (const [field, value] of Object.entries(before)) {
      if (recipe.values[field] === value) recipe.values[field] = recipe.base[field];
    }
    recipe.preset = name;
    Object.assign(recipe.values, presetValues(name));
    recipe.invalid = {};
    touched(null);
  }

  /** Another recipe as a whole (from a card, a run, a file); what it does not name goes to the default. */
  function replace(settings) {
    recipe.values = { ...recipe.base, ...known(settings) };
    recipe.invalid = {};
    recipe.preset = recognised();
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
    load, set, refuse, reset, choose, replace, merge, recheckNow: check, recheck, reference, isChanged, changed, adviceAt,
  });
})(trainLora);
