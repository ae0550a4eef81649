// Sheets of pictures side by side: tables of them, one enlarged with what to do with it.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const src = (run, sheet, cell) => tl.api.url('sheets/picture', { run: run ? run.id : '', sheet: sheet.id, cell });

  function said(sheet, cell) {
    const label = [sheet.rows[cell.row], sheet.columns[cell.column]].filter(Boolean).join(', ');
    return cell.words ? `${label}: ${cell.words} (${(100 * cell.change).toFixed(1)} %)` : label;
  }

  const rate = (used, part) => used[part] || used.learning_rate;
  const rounded = (value) => Number(value.toPrecision(3));

  /** The recipe with both rates multiplied by the strengths that work: less strength needed, less rate. */
  function corrected(settings, cell) {
    return { ...settings, unet_lr: rounded(rate(settings, 'unet_lr') * cell.unet), text_encoder_lr: rounded(rate(settings, 'text_encoder_lr') * cell.te) };
  }

  function actions(run, sheet, item, close) {
    const { el, button, note } = tl.dom;
    const { cell } = item, place = el('div', { class: 'tl-deeds' });
    const act = (label, action, main) => {
      const node = button(label, () => tl.parts.busy(node, place, async () => {
        const words = await action();
        if (words) place.replaceChildren(note('ok', words));
      }), { class: main ? 'tl-button tl-go' : 'tl-button' });
      return node;
    };
    const snapshot = run && run.snapshots.find((one) => one.path === cell.lora);
    const both = cell.unet === cell.te && cell.unet > 0 ? cell.unet : 0;
    const better = sheet.kind === 'parts' && run.settings ? corrected(run.settings, cell) : null;
    return [
      snapshot ? act('Keep this one', () => tl.keeping.keep(run, snapshot, { weight: both, sheet: sheet.id, cell: item.index }), !better) : null,
      better ? act(`Train again with U-Net rate ${tl.fmt.number(better.unet_lr)}, text encoder ${tl.fmt.number(better.text_encoder_lr)}`, async () => {
        close();
        tl.recipe.replace(better);
        await tl.tab.select('recipe');
      }, true) : null,
      act('Put into the training set', async () => {
        const { count } = await tl.collect.fromSheet(run, sheet, item);
        const many = tl.fmt.plural(count, 'picture');
        place.replaceChildren(note('ok', `It lies in the training set now, with its caption: ${many}. `, '', run && run.settings
          ? act(`Train again with ${many}`, async () => {
            await tl.collect.again(run);
            close();
          }) : null));
      }),
      place,
    ];
  }

  function block(run, sheet, number, items) {
    const { el } = tl.dom;
    const at = new Map(items.filter((one) => one.cell.block === number).map((one) => [`${one.cell.row}/${one.cell.column}`, one]));
    const shot = (row, column) => {
      const item = at.get(`${row}/${column}`);
      if (!item) return el('td', {});
      return el('td', {}, el('button', { type: 'button', class: 'tl-shot', title: item.detail, on: { click: () => tl.look.pictures(items, items.indexOf(item), (one, close) => actions(run, sheet, one, close)) } },
        el('img', { src: item.src, loading: 'lazy', alt: `${item.caption}, ${item.detail}` })),
      item.cell.words ? el('small', {}, `${item.cell.words} (${(100 * item.cell.change).toFixed(1)} %)`) : null);
    };
    return [sheet.blocks[number] ? el('p', { class: 'tl-prompt' }, sheet.blocks[number]) : null,
      el('div', { class: 'tl-scroll' }, el('table', { class: 'tl-samples tl-sheet', style: `--tl-columns:${sheet.columns.length}` },
        el('thead', {}, el('tr', {}, el('td', {}), sheet.columns.map((label) => el('th', { scope: 'col', title: label }, label)))),
        el('tbody', {}, sheet.rows.map((label, row) => el('tr', {}, el('th', { scope: 'row' }, label), sheet.columns.map((_, column) => shot(row, column)))))))];
  }

  function view(run, sheet) {
    const { el } = tl.dom;
    const items = sheet.cells.map((cell, index) => ({ cell, index, caption: cell.prompt || 'no prompt', src: src(run, sheet, index), detail: said(sheet, cell) }))
      .filter((one) => one.cell.drawn);
    const drawn = items.length === sheet.cells.length ? '' : `, ${items.length} of ${sheet.cells.length} drawn`;
    return el('section', { class: 'tl-sheet-box', 'data-sheet': sheet.id },
      el('div', { class: 'tl-row' }, el('b', {}, sheet.title), el('span', { class: 'tl-dim' }, `${tl.fmt.moment(sheet.made)}${drawn}`),
        items.length ? el('a', { class: 'tl-link tl-end', href: src(run, sheet, -1), download: `${sheet.title.replace(/[^\w. -]+/g, '')}.png` }, 'Save as one picture') : null),
      sheet.note ? el('p', { class: 'tl-help' }, sheet.note) : null, sheet.blocks.map((_, number) => block(run, sheet, number, items)));
  }

  /** The sheets of a run (or of no run) that keep themselves up to date while one is drawn. `open()`: whether they are looked at. */
  function list(run, open) {
    const { el, fill } = tl.dom;
    const place = el('div', { class: 'tl-sheets' });
    async function refresh() {
      if (!open()) return;
      const { sheets } = await tl.api.get('sheets', { run: run ? run.id : '' });
      while (place.children.length > sheets.length) place.lastChild.remove();
      sheets.forEach((sheet, index) => {
        const box = place.children[index] || place.appendChild(el('div', {}));
        fill(box, sheet, () => view(run, sheet));
      });
    }
    const drawing = () => tl.status && tl.status.job && tl.status.job.kind === 'sheet';
    return { node: place, refresh, follow: () => drawing() && refresh() };
  }

  tl.sheets = { list, corrected };
})(trainLora);
