// "All settings": every option of the schema in its group, searchable, with advice and what was changed at the field.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  /** The value of what was typed, or an Error saying what is wrong with it. */
  function parse(field, typed) {
    if (field.type !== 'int' && field.type !== 'float') return typed;
    const value = Number(typed.trim().replace(',', '.'));
    if (!typed.trim() || isNaN(value)) return new Error('This is not a number.');
    if (field.type === 'int' && !Number.isInteger(value)) return new Error('This has to be a whole number.');
    if (field.min !== null && field.min !== undefined && value < field.min) return new Error(`At least ${field.min}.`);
    if (field.max !== null && field.max !== undefined && value > field.max) return new Error(`At most ${field.max}.`);
    return value;
  }

  function control(field, id) {
    const { el } = tl.dom;
    const typed = () => {
      const value = parse(field, node.value);
      if (value instanceof Error) tl.recipe.refuse(field.name, value.message);
      else tl.recipe.set(field.name, value);
    };
    const common = { id, 'aria-describedby': `${id}_help ${id}_why`, name: field.name };
    let node;
    if (field.type === 'bool') {
      node = el('input', { ...common, type: 'checkbox', on: { change: () => tl.recipe.set(field.name, node.checked) } });
    } else if (field.type === 'choice') {
      node = el('select', { ...common, on: { change: () => tl.recipe.set(field.name, field.choices[node.selectedIndex]) } },
        field.choices.map((choice) => el('option', {}, String(choice))));
    } else if (field.lines > 1) {
      node = el('textarea', { ...common, rows: field.lines, spellcheck: 'false', on: { input: typed } });
    } else {
      const numeric = field.type === 'int' ? 'numeric' : field.type === 'float' ? 'decimal' : null;
      node = el('input', { ...common, type: 'text', inputmode: numeric, autocomplete: 'off', spellcheck: 'false', on: { input: typed } });
    }
    return node;
  }

  function put(field, node, value) {
    if (field.type === 'bool') node.checked = Boolean(value);
    else if (field.type === 'choice') node.selectedIndex = field.choices.indexOf(value);
    else if (document.activeElement !== node) node.value = String(value === undefined || value === null ? '' : value);
  }

  /** A warning when the value lies outside what the guides advise. */
  function outside(field, value) {
    if (!field.advice || typeof value !== 'number' || !value) return '';
    const [low, high] = field.advice;
    return value < low || value > high ? `Usually ${low} to ${high}${field.unit ? ' ' + field.unit : ''}.` : '';
  }

  function messages(field) {
    const wrong = tl.recipe.invalid[field.name];
    if (wrong) return [{ text: wrong, level: 'error' }];
    const advice = tl.recipe.adviceAt(field.name);
    const usual = outside(field, tl.recipe.values[field.name]);
    return advice.length || !usual ? advice : [{ text: usual, level: 'warning' }];
  }

  /** Why the option does nothing as the others are set, '' when it acts. */
  function idle(field) {
    const { fields, values } = tl.recipe;
    const met = ([name, wanted]) => (wanted.length ? wanted.includes(values[name]) : Boolean(values[name]));
    const missing = Object.entries(field.when || {}).find((condition) => !met(condition));
    if (!missing) return '';
    const [name, wanted] = missing;
    const any = { text: 'given', bool: 'on' }[fields[name].type] || 'above 0';
    const names = wanted.map(shownValue);
    const is = names.length ? [names.slice(0, -1).join(', '), names[names.length - 1]].filter(Boolean).join(' or ') : any;
    return `Does nothing now: only with “${fields[name].label}” ${is}.`;
  }

  function shownValue(value) {
    return value === true ? 'on' : value === false ? 'off' : value === '' ? 'empty' : String(value);
  }

  function row(field) {
    const { el, text, show, fill, link } = tl.dom;
    const id = `train_lora_field_${field.name}`;
    const node = control(field, id);
    const mark = link('reset', () => tl.recipe.reset(field.name), { class: 'tl-link tl-reset' });
    const said = el('div', { class: 'tl-said', 'aria-live': 'polite' });
    const why = el('div', { class: 'tl-help', id: `${id}_why`, hidden: true });
    const unit = field.unit && field.unit !== field.label.toLowerCase();
    const label = el('label', { for: id }, field.label, unit ? el('span', { class: 'tl-dim' }, ` (${field.unit})`) : null);
    const box = el('div', { class: field.type === 'bool' ? 'tl-field tl-check' : 'tl-field' },
      el('div', { class: 'tl-label' }, label, mark), node, el('div', { class: 'tl-help', id: `${id}_help` }, tl.dom.withCode(field.help)), why, said);
    function update(force) {
      const value = tl.recipe.values[field.name];
      if (force && document.activeElement === node) node.blur();
      if (!(field.name in tl.recipe.invalid)) put(field, node, value);
      const changed = tl.recipe.isChanged(field.name);
      box.classList.toggle('tl-changed', changed);
      const off = idle(field);
      box.classList.toggle('tl-idle-field', Boolean(off));
      text(why, off);
      show(why, off);
      show(mark, changed);
      mark.title = changed ? `Back to ${shownValue(tl.recipe.reference(field.name))}` : '';
      mark.setAttribute('aria-label', changed ? `Set ${field.label} back to ${shownValue(tl.recipe.reference(field.name))}` : 'reset');
      const found = messages(field);
      fill(said, found, () => found.map((one) => el('div', { class: one.level === 'error' ? 'tl-bad-text' : 'tl-warn-text' }, one.text)));
      node.setAttribute('aria-invalid', found.some((one) => one.level === 'error'));
      return { changed, found: found.length };
    }
    const words = `${field.name} ${field.label} ${field.help} ${field.unit}`.toLowerCase();
    return { field, box, node, update, matches: (wanted) => wanted.every((word) => words.includes(word)), text };
  }

  function group(description) {
    const { el, text } = tl.dom;
    const rows = description.fields.map(row);
    const count = el('span', { class: 'tl-badge' });
    const box = el('details', { class: 'tl-group', id: `train_lora_group_${description.name}` },
      el('summary', {}, el('span', {}, description.title), count), el('div', { class: 'tl-fields' }, rows.map((one) => one.box)));
    function update(force) {
      const changed = rows.map((one) => one.update(force)).filter((one) => one.changed).length;
      text(count, changed ? `${changed} changed` : '');
    }
    function search(wanted) {
      const hits = rows.filter((one) => one.matches(wanted));
      for (const one of rows) tl.dom.show(one.box, hits.includes(one));
      tl.dom.show(box, hits.length);
      if (wanted.length) box.open = hits.length > 0;
      return hits.length;
    }
    return { box, rows, update, search };
  }

  /** The whole form, folded; `reveal(name)` opens and focuses one field. */
  function form() {
    const { el, text, fill } = tl.dom;
    const title = el('span', {}, 'All settings');
    const changed = el('span', { class: 'tl-badge' });
    const nothing = el('p', { class: 'tl-dim', hidden: true }, 'No option has these words.');
    const search = el('input', {
      type: 'search', id: 'train_lora_search', placeholder: 'Search the options', 'aria-label': 'Search the options',
      on: { input: () => find(search.value) },
    });
    const place = el('div', { class: 'tl-groups' });
    const box = el('details', { class: 'tl-panel tl-all', id: 'train_lora_all' }, el('summary', {}, title, changed), search, nothing, place);
    let groups = [];

    function find(words) {
      const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
      const hits = groups.reduce((sum, one) => sum + one.search(wanted), 0);
      if (!wanted.length) groups.forEach((one) => { one.box.open = false; });
      tl.dom.show(nothing, !hits);
    }
    function update(name) {
      for (const one of groups) one.update(name === null);
      const count = tl.recipe.changed().length;
      const preset = tl.recipe.card(tl.recipe.preset);
      text(changed, count ? `${count} changed from ${preset ? preset.title || preset.name : 'the defaults'}` : '');
    }
    function reveal(name) {
      const one = groups.flatMap((item) => item.rows.map((found) => ({ item, found }))).find(({ found }) => found.field.name === name);
      if (!one) return;
      search.value = '';
      find('');
      box.open = one.item.box.open = true;
      one.found.node.scrollIntoView({ block: 'center' });
      one.found.node.focus({ preventScroll: true });
    }
    tl.on('schema', (recipe) => {
      groups = recipe.groups.map(group);
      fill(place, recipe.groups.map((one) => one.name), () => groups.map((one) => one.box));
    });
    tl.on('values', update);
    tl.on('check', () => update(''));
    return { box, reveal };
  }

  tl.form = { form, parse };
})(trainLora);
