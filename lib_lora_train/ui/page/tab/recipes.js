// The user's own recipes (save, rename, delete, undo) and recipes as files: out as TOML, in from any trainer.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const HEADER_LIMIT = 64 * 2 ** 20, TEXT_LIMIT = 1.9 * 2 ** 20;
  let tell = () => {};

  /** Asks for a name until it is one, or the user thinks better of it; `act(name, replace)` saves. */
  async function named(title, start, act) {
    const { el, note } = tl.dom;
    let [name, problem, replace] = [start, null, false];
    for (;;) {
      const input = el('input', { type: 'text', value: name, 'aria-label': 'Name of the recipe', autocomplete: 'off', spellcheck: 'false' });
      const taken = problem && problem.status === 409;
      const choices = [[taken ? 'Try this name' : 'Save', 'ok', true], ...(taken && act.length > 1 ? [['Replace it', 'replace']] : []), ['Cancel', null]];
      const answer = await tl.parts.ask(title, [problem ? note('bad', problem.message, problem.remedy) : null, input], choices);
      if (!answer) return null;
      name = input.value.trim();
      replace = answer === 'replace';
      try {
        return await act(name, replace);
      } catch (error) {
        problem = error;
      }
    }
  }

  const preset = () => tl.recipe.card(tl.recipe.preset);
  const isOwn = () => tl.recipe.preset.startsWith('own/');

  function save() {
    const start = isOwn() ? preset().name : tl.recipe.values.output_name;
    return named('Save as a recipe of your own', start, async (name, replace) => {
      const { recipes } = await tl.api.post('recipes', { name, settings: tl.recipe.values, replace });
      tl.recipe.setOwn(recipes);
      const saved = recipes.find((one) => one.name === name.normalize('NFC')) || recipes.find((one) => one.name.trim() === name);
      if (saved) tl.recipe.choose(`own/${saved.name}`);
      return tell(['ok', `“${name}” is saved: the settings without name, trigger word and folder.`]);
    });
  }

  function rename() {
    const old = preset().name;
    return named(`New name for “${old}”`, old, async (to) => {
      const { recipes } = await tl.api.post('recipes/rename', { name: old, to });
      return tl.recipe.setOwn(recipes, [old, to]);
    });
  }

  async function remove() {
    const { name } = preset();
    try {
      const { recipes, undo } = await tl.api.post('recipes/delete', { name });
      tl.recipe.setOwn(recipes);
      tell(['ok', `“${name}” is deleted.`, ['Undo', async () => {
        const back = await tl.api.post('recipes/restore', { undo });
        tl.recipe.setOwn(back.recipes);
        tl.recipe.choose(`own/${back.name}`);
        tell(null);
      }]]);
    } catch (error) {
      tell(['bad', error.message, null, error.remedy]);
    }
  }

  async function exported() {
    const { el } = tl.dom;
    const { text } = await tl.api.post('recipes/text', { settings: tl.recipe.values });
    const address = URL.createObjectURL(new Blob([text], { type: 'application/toml' }));
    el('a', { href: address, download: `${tl.recipe.values.output_name || 'recipe'}.toml` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  /** The metadata in a LoRA file's header; the tensors are never read. */
  async function header(file) {
    const broken = Object.assign(new Error(`${file.name} is no LoRA file.`), { remedy: 'It may have been cut off while it was copied.' });
    if (file.size < 10) throw broken;
    const length = Number(new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true));
    if (length > Math.min(file.size - 8, HEADER_LIMIT)) throw broken;
    let metadata;
    try {
      metadata = JSON.parse(await file.slice(8, 8 + length).text()).__metadata__ || {};
    } catch (error) {
      throw broken;
    }
    const text = () => JSON.stringify({ __metadata__: metadata });
    for (const long of ['ss_tag_frequency', 'ss_bucket_info', 'modelspec.thumbnail']) if (text().length > TEXT_LIMIT) delete metadata[long];
    return text();
  }

  const SOURCES = { ours: 'a recipe of Train LoRA', other: 'another trainer’s', none: '' };

  /** Take a recipe over from a file's text: what it does not say goes to the default, folders and words stay if not given. */
  async function take(name, text) {
    const found = await tl.api.post('import', { name, text });
    const before = tl.recipe.remember();
    if (!Object.keys(found.settings).length) {
      throw Object.assign(new Error(`${name} says nothing about how it was trained.`), { remedy: 'The form stays as it was.' });
    }
    const mine = Object.fromEntries(tl.recipe.OWN.map((field) => [field, tl.recipe.values[field]]));
    tl.recipe.replace({ ...mine, network_weights: '', ...found.settings });
    const undo = ['Undo', () => {
      tl.recipe.restore(before);
      tell(null);
    }];
    const source = SOURCES[found.source] === undefined ? found.source : SOURCES[found.source];
    return ['ok', `${name} is the recipe now${source ? ` (${source})` : ''}.`, undo, '', found];
  }

  async function takeFile(file) {
    const isLora = /\.safetensors$/i.test(file.name);
    if (!isLora && file.size > TEXT_LIMIT) throw Object.assign(new Error(`${file.name} is too large for a recipe.`), { remedy: 'Choose a TOML, JSON or text file, or a LoRA.' });
    return take(file.name, isLora ? await header(file) : await file.text());
  }

  /** What became of an import, an act or an error; shown by `place`. */
  function message([kind, words, action, remedy, found], close) {
    const { el, note, link } = tl.dom;
    const list = (label, lines) => (lines && lines.length
      ? el('details', {}, el('summary', {}, `${tl.fmt.plural(lines.length, 'setting')} ${label}`), el('ul', {}, lines.map((line) => el('li', {}, line)))) : null);
    return note(kind, words, remedy, ' ', action ? link(action[0], action[1]) : null, ' ', link('Close', close || (() => tell(null)), { 'aria-label': 'Close this message' }),
      found ? [list('not carried over', found.not_carried), list('said differently here', found.translated)] : null);
  }

  async function load(file) {
    try {
      tell(await takeFile(file));
    } catch (error) {
      tell(['bad', error.message, null, error.remedy]);
    }
  }

  /** A file, or a pasted command line. */
  async function dialog() {
    const { el, button } = tl.dom;
    const files = el('input', { type: 'file', accept: '.toml,.json,.safetensors,.sh,.bat,.ps1,.txt', 'aria-label': 'Recipe file or LoRA' });
    const pasted = el('textarea', { rows: 5, spellcheck: 'false', 'aria-label': 'Pasted recipe or command line', placeholder: 'accelerate launch train_network.py --network_dim 32 …' });
    const answer = await tl.parts.ask('Import a recipe', [
      el('p', {}, 'A recipe (TOML), a LoRA file, or the settings of kohya_ss, sd-scripts, Easy Training Scripts or OneTrainer. Files can also be dropped on this page.'),
      files, el('p', { class: 'tl-dim' }, 'Or paste a command line or a file’s text:'), pasted], [['Import', 'ok', true], ['Cancel', null]]);
    if (!answer) return;
    if (files.files.length) await load(files.files[0]);
    else if (pasted.value.trim()) await load(new File([pasted.value], 'The pasted text'));
  }

  /** Files dropped anywhere on `node` become the recipe, unless something else is to be done with them. */
  function dropInto(node, act) {
    const over = (on) => (event) => {
      if (!event.dataTransfer || ![...event.dataTransfer.types].includes('Files')) return;
      event.preventDefault();
      node.classList.toggle('tl-over', on);
    };
    for (const [event, on] of [['dragover', true], ['dragenter', true], ['dragleave', false]]) node.addEventListener(event, over(on));
    node.addEventListener('drop', (event) => {
      if (!event.dataTransfer.files.length) return;
      over(false)(event);
      event.stopPropagation();
      (act || load)(event.dataTransfer.files[0]);
    });
  }

  /** Where it is said what became of things. */
  function place() {
    const { el, fill } = tl.dom;
    const node = el('div', { id: 'train_lora_recipes_said', 'aria-live': 'polite' });
    tell = (what) => fill(node, what && [what[0], what[1], Date.now()], () => what && message(what));
    return node;
  }

  function guarded(act) {
    return () => Promise.resolve(act()).catch((error) => tell(['bad', error.message, null, error.remedy]));
  }

  /** Under the cards: what can be done with the recipe as it stands. */
  function actions() {
    const { el, fill, link } = tl.dom;
    const node = el('div', { class: 'tl-row', id: 'train_lora_recipe_actions' });
    tl.on('values', () => fill(node, [tl.recipe.preset], () => [
      link('Save as my own…', guarded(save), { id: 'train_lora_save_recipe' }),
      isOwn() ? [link('Rename…', guarded(rename)), link('Delete', guarded(remove))] : null,
      link('Save as a file', guarded(exported), { id: 'train_lora_export' }), link('Import…', guarded(dialog), { id: 'train_lora_import' })]));
    return node;
  }

  tl.recipes = { actions, place, dropInto, takeFile, load, exported, message };
})(trainLora);
