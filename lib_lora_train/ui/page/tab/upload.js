// Pictures dropped on the page or chosen from the disk, sent one by one into a data set of their own.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const TAKEN = /\.(png|jpe?g|webp|bmp|txt|caption)$/i;

  /** All files of a dropped folder entry, with their relative paths. */
  async function walk(entry, path) {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      return [{ file, path: path + file.name }];
    }
    const reader = entry.createReader();
    const found = [];
    for (;;) { // a reader gives at most 100 entries at a time
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return found;
      for (const child of some) found.push(...await walk(child, `${path}${entry.name}/`));
    }
  }

  async function dropped(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
    if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
    const lists = await Promise.all(entries.map((entry) => walk(entry, '')));
    return lists.flat();
  }

  /** `name` of a folder holding everything is not part of the layout: `cats/1_cat/a.png` becomes `1_cat/a.png`. */
  function withoutRoot(files) {
    const parts = files.map(({ path }) => path.split('/'));
    const root = parts[0] && parts[0][0];
    const shared = parts.every((p) => p.length > 1 && p[0] === root) && !/^\d+_/.test(root);
    return shared ? files.map(({ file, path }) => ({ file, path: path.slice(root.length + 1) })) : files;
  }

  /** Send all; `tell(done, total)` meanwhile. Gives `{folder, refused: [names]}`. */
  async function send(files, tell) {
    const taken = withoutRoot(files.filter(({ path }) => TAKEN.test(path)));
    const refused = files.filter(({ path }) => !TAKEN.test(path)).map(({ path }) => path);
    let set = '', folder = '';
    for (const [index, { file, path }] of taken.entries()) {
      tell(index, taken.length);
      const answer = await tl.api.upload({ set, path }, file);
      ({ set, folder } = answer);
    }
    return { folder, refused };
  }

  /** A place to drop files on, with buttons for those who don't drag. `arrived(folder, refused)`. */
  function zone(arrived) {
    const { el, text, button, note, fill } = tl.dom;
    const state = el('span', { class: 'tl-dim' }, 'Drop pictures or a folder here, with or without captions');
    const trouble = el('div', { 'aria-live': 'polite' });
    const input = (folder) => el('input', {
      type: 'file', multiple: true, webkitdirectory: folder, accept: folder ? null : 'image/*,.txt,.caption', hidden: true,
      on: { change: (event) => take([...event.target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }))) },
    });
    const [files, folders] = [input(false), input(true)];

    async function take(list) {
      if (!list.length) return;
      fill(trouble, null, () => null);
      try {
        const { folder, refused } = await send(list, (done, total) => text(state, `Taking over ${done + 1} of ${total}…`));
        if (folder) arrived(folder, refused);
        if (refused.length) {
          const names = refused.slice(0, 5).join(', ') + (refused.length > 5 ? ', …' : '');
          fill(trouble, refused, () => note('warn', `${tl.fmt.plural(refused.length, 'file')} left out: ${names}.`,
            'Pictures are png, jpg, webp or bmp, captions txt or caption.'));
        }
      } catch (error) {
        fill(trouble, [error.message, Date.now()], () => note('bad', error.message, error.remedy));
      }
      text(state, 'Drop pictures or a folder here, with or without captions');
      files.value = folders.value = '';
    }

    const over = (on) => (event) => {
      event.preventDefault();
      place.classList.toggle('tl-over', on);
    };
    const place = el('div', {
      class: 'tl-drop', id: 'train_lora_drop',
      on: {
        dragover: over(true), dragenter: over(true), dragleave: over(false),
        async drop(event) {
          over(false)(event);
          event.stopPropagation();
          await take(await dropped(event.dataTransfer));
        },
      },
    }, state, el('span', { class: 'tl-row tl-tight' },
      button('Choose pictures', () => files.click()), button('Choose a folder', () => folders.click())), files, folders, trouble);
    return place;
  }

  tl.upload = { zone, withoutRoot };
})(trainLora);
