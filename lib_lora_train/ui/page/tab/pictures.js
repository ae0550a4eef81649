// Sub-tab Pictures: the folder, what is in it with captions, what was left out and why, how sizes fall into buckets.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const PAGE = 48;

  function counts({ pictures, left_out: leftOut }) {
    const { el } = tl.dom;
    const concepts = pictures.concepts || [];
    const rounds = pictures.samples && pictures.samples !== pictures.count ? [el('span', {}, el('b', {}, tl.fmt.whole(pictures.samples)), ' per epoch')] : [];
    return [
      el('span', {}, el('b', {}, tl.fmt.whole(pictures.count)), pictures.count === 1 ? ' picture' : ' pictures'),
      concepts.slice(0, 6).map((concept) => el('span', {}, el('b', {}, concept.name || 'pictures'),
        ` ${concept.count} × ${concept.repeats}${concept.is_reg ? ' (regularisation)' : ''}`)),
      concepts.length > 6 ? el('span', {}, `and ${concepts.length - 6} more folders`) : null,
      rounds,
      leftOut && leftOut.length ? el('span', { class: 'tl-warn-text' }, `${leftOut.length} left out`) : null,
    ];
  }

  function tile(set, items, position) {
    const { el } = tl.dom;
    const item = items[position];
    const src = tl.api.url('pictures', { set, index: item.index, size: 192 });
    const open = () => tl.parts.viewer(items.map((one) => ({
      src: tl.api.url('pictures', { set, index: one.index, size: 768 }),
      caption: one.caption || 'No caption',
      detail: [one.name, `${one.width} × ${one.height}`, one.bucket ? `trained at ${one.bucket[0]} × ${one.bucket[1]}` : '',
        one.repeats > 1 ? `${one.repeats} times per epoch` : ''].filter(Boolean).join(', '),
    })), position);
    return el('button', { type: 'button', class: 'tl-tile', title: item.caption || item.name, on: { click: open } },
      el('img', { src, loading: 'lazy', alt: item.caption || item.name }),
      el('span', { class: item.caption ? 'tl-cap' : 'tl-cap tl-warn-text' }, item.caption || 'no caption'));
  }

  function gallery() {
    const { el, fill, button } = tl.dom;
    const grid = el('div', { class: 'tl-grid' });
    const more = el('div', { class: 'tl-row' });
    let shown = PAGE, set = '';
    function draw(pictures) {
      if (pictures.set !== set) [set, shown] = [pictures.set, PAGE];
      const items = pictures.items || [];
      fill(grid, [set, items.slice(0, shown)], () => items.slice(0, shown).map((item, position) => tile(set, items, position)));
      const rest = items.length - shown;
      fill(more, [items.length, shown, pictures.count], () => [
        rest > 0 ? button(`Show ${Math.min(PAGE * 4, rest)} more of ${rest}`, () => {
          shown += PAGE * 4;
          draw(pictures);
        }) : null,
        pictures.count > items.length ? el('span', { class: 'tl-dim' }, `The first ${items.length} of ${tl.fmt.whole(pictures.count)} can be looked at here.`) : null]);
    }
    return { node: el('div', {}, grid, more), draw };
  }

  function buckets(list) {
    const { el } = tl.dom;
    const most = Math.max(1, ...list.map((bucket) => bucket.count));
    return [el('h3', {}, 'Sizes trained at'), el('table', { class: 'tl-buckets' }, el('tbody', {}, list.map((bucket) => el('tr', {},
      el('th', { scope: 'row' }, `${bucket.size[0]} × ${bucket.size[1]}`),
      el('td', { class: 'tl-wide' }, el('i', { style: `width:${(100 * bucket.count) / most}%` })),
      el('td', {}, tl.fmt.whole(bucket.count))))))];
  }

  /** A list of names with reasons, folded when long. */
  function leftOut(list) {
    const { el } = tl.dom;
    if (!list.length) return null;
    return el('details', { class: 'tl-note tl-warn', open: list.length <= 3 },
      el('summary', {}, `${tl.fmt.plural(list.length, 'file')} left out`),
      el('ul', {}, list.slice(0, 200).map((item) => el('li', {}, el('b', {}, item.name), ' ', item.reason))),
      list.length > 200 ? el('p', {}, `and ${list.length - 200} more`) : null);
  }

  function checks(recipe) {
    const { el, note } = tl.dom;
    const { check, problem } = recipe;
    if (problem) return note('bad', problem.message, problem.remedy);
    if (!check || !check.pictures || !check.pictures.count) {
      return [leftOut((check && check.left_out) || []), ...((check && check.notes) || []).map((words) => note('warn', words)),
        el('p', { class: 'tl-dim' }, 'Give a folder or drop pictures: 15 to 50 good ones make a character, 100 and more a style.')];
    }
    const notes = (check.notes || []).map((words) => note('warn', words));
    const fine = notes.length || check.left_out.length ? null : note('ok', 'Every file can be used.');
    return [fine, notes, leftOut(check.left_out || [])];
  }

  function folderField() {
    const { el, link } = tl.dom;
    const input = el('input', {
      type: 'text', id: 'train_lora_folder', autocomplete: 'off', spellcheck: 'false', placeholder: 'Path of a folder on the computer the web UI runs on',
      on: {
        change: () => tl.recipe.set('train_data_dir', input.value.trim()),
        input: tl.later(() => tl.recipe.set('train_data_dir', input.value.trim()), 600),
      },
    });
    tl.on('values', () => {
      if (document.activeElement !== input) input.value = tl.recipe.values.train_data_dir || '';
    });
    return el('div', {}, el('label', { for: 'train_lora_folder' }, 'Folder of pictures, or of concept folders named 4_name'),
      el('div', { class: 'tl-joined' }, input, link('Look again', () => tl.recipe.recheckNow(), { id: 'train_lora_rescan' })));
  }

  function panel() {
    const { el, fill, show, button } = tl.dom;
    const line = el('p', { class: 'tl-head', id: 'train_lora_counts', 'aria-live': 'polite' });
    const shown = gallery();
    const side = el('div', { 'aria-live': 'polite' });
    const spread = el('div', {});
    const next = el('div', { class: 'tl-row' }, button('Next: choose a recipe', () => tl.tab.select('recipe'), { class: 'tl-button tl-go' }));
    const arrived = (folder) => tl.recipe.set('train_data_dir', folder);

    tl.on('checking', () => line.classList.add('tl-stale'));
    tl.on('check', (recipe) => {
      const check = recipe.check || {};
      const pictures = check.pictures || { items: [], count: 0 };
      line.classList.remove('tl-stale');
      fill(line, [pictures.count, pictures.samples, pictures.concepts, (check.left_out || []).length],
        () => (pictures.count ? counts({ left_out: [], ...check }) : null));
      shown.draw(pictures);
      fill(side, [check.notes, check.left_out, pictures.count, recipe.problem && [recipe.problem.message, recipe.problem.remedy]], () => checks(recipe));
      fill(spread, pictures.buckets || [], (list) => (list.length ? buckets(list) : null));
      show(next, pictures.count);
    });
    return el('section', { class: 'tl-cols' },
      el('div', { class: 'tl-panel' }, folderField(), tl.upload.zone(arrived), line, shown.node),
      el('div', { class: 'tl-panel' }, el('h3', {}, 'Check'), side, spread, tl.regular.part(), next));
  }

  tl.pictures = { panel };
})(trainLora);
