// Sub-tab Tools: any LoRA file looked into; the recipe out of and into the page.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  function recipeTable(settings) {
    const { el } = tl.dom;
    const rows = Object.entries(settings).filter(([name, value]) => name in tl.recipe.fields && value !== tl.recipe.fields[name].default);
    return el('table', { class: 'tl-facts' }, el('tbody', {}, rows.map(([name, value]) => el('tr', {},
      el('th', { scope: 'row', title: name }, tl.recipe.fields[name].label), el('td', {}, value === true ? 'on' : value === false ? 'off' : String(value))))));
  }

  /** `32` when all modules agree, else `16 (24), 32 (168)`: value and number of modules. */
  function spread(pairs) {
    return pairs.length === 1 ? tl.fmt.number(pairs[0][0]) : pairs.map(([value, count]) => `${tl.fmt.number(value)} (×${count})`).join(', ');
  }

  function facts(found) {
    const { el } = tl.dom;
    const rows = [
      ['Kind', found.kind], ['Size', tl.fmt.size(found.size_mb)], ['Rank', spread(found.ranks)], ['Convolution rank', spread(found.conv_ranks)],
      ['Alpha', spread(found.alphas)], ['Modules', Object.entries(found.parts).map(([part, count]) => `${count} in ${part.replace(/_/g, ' ')}`).join(', ')],
      ['Precision', Object.keys(found.dtypes).join(', ')], ['Made on', found.metadata.ss_sd_model_name || ''],
      ['Hash', { true: 'right', false: 'wrong: the tensors were changed after training' }[found.hash_ok] || ''],
    ];
    return el('table', { class: 'tl-facts' }, el('tbody', {}, rows.filter(([, words]) => words).map(([name, words]) => el('tr', {},
      el('th', { scope: 'row' }, name), el('td', {}, words)))));
  }

  /** Bars of how much each block is changed. The table beside the picture tells it to who cannot see. */
  function normsPicture(blocks) {
    const { el, svg } = tl.dom;
    const most = Math.max(...blocks.map((one) => one.norm), 1e-12);
    const [wide, high, foot] = [26, 120, 46];
    const place = (one, index) => {
      const height = Math.max((one.norm / most) * high, 1);
      const words = svg('title', {});
      words.append(`${one.block}: ${tl.fmt.number(one.norm)} in ${tl.fmt.plural(one.modules, 'module')}`);
      const name = svg('text', { x: 0, y: 0, transform: `translate(${index * wide + wide / 2 + 3} ${high + foot}) rotate(-90)` });
      name.append(one.block);
      return svg('g', {}, words, svg('rect', { x: index * wide + 3, y: high - height, width: wide - 6, height, rx: 2, class: 'tl-norm' }), name);
    };
    const box = `0 0 ${blocks.length * wide} ${high + foot + 4}`;
    const picture = svg('svg', { viewBox: box, class: 'tl-chart tl-norms', role: 'img', 'aria-label': `How much each block is changed; most in ${blocks.reduce((a, b) => (b.norm > a.norm ? b : a)).block}` }, ...blocks.map(place));
    const table = el('table', { class: 'tl-facts' }, el('tbody', {}, blocks.map((one) => el('tr', {},
      el('th', { scope: 'row' }, one.block), el('td', {}, tl.fmt.number(one.norm)), el('td', {}, tl.fmt.plural(one.modules, 'module'))))));
    return [el('h3', {}, 'How much each block is changed'), picture, el('details', {}, el('summary', {}, 'As numbers'), table)];
  }

  function metadata(entries) {
    const { el } = tl.dom;
    const rows = Object.entries(entries);
    if (!rows.length) return null;
    return el('details', {}, el('summary', {}, `Metadata: ${tl.fmt.plural(rows.length, 'entry', 'entries')}`),
      el('div', { class: 'tl-scroll' }, el('table', { class: 'tl-facts tl-metadata' }, el('tbody', {}, rows.map(([name, words]) => el('tr', {}, el('th', { scope: 'row' }, name), el('td', {}, words)))))));
  }

  const SOURCES = { ours: 'Trained here; what differs from the defaults:', other: 'From another trainer; what is understood of it:', none: 'The file says nothing about its training.' };

  function shown(found, again) {
    const { el } = tl.dom;
    const { settings, source, not_carried: lost } = found.recipe;
    return [el('h3', {}, found.name), facts(found), found.blocks.length ? normsPicture(found.blocks) : null,
      found.unknown ? el('p', { class: 'tl-dim' }, `${tl.fmt.plural(found.unknown, 'module')} of kinds whose change the file alone does not tell.`) : null,
      el('h3', {}, 'Recipe'), el('p', { class: 'tl-dim' }, SOURCES[source]), recipeTable(settings),
      lost.length ? el('p', { class: 'tl-dim' }, `Not carried over: ${lost.join(', ')}`) : null, again, metadata(found.metadata)];
  }

  function inspect() {
    const { el, button, fill } = tl.dom;
    const place = el('div', { 'aria-live': 'polite', id: 'train_lora_inspected' });
    const show = (found, again) => fill(place, [found.name, Date.now()], () => shown(found, again));
    const input = el('input', {
      type: 'text', id: 'train_lora_inspect', autocomplete: 'off', spellcheck: 'false', placeholder: 'Name as on its card',
      on: { keydown: (event) => event.key === 'Enter' && node.click() },
    });
    const node = button('Look inside', () => tl.parts.busy(node, place, async () => {
      const name = input.value.trim();
      show(await tl.api.get('inspect', { name }), button('Train again', () => tl.again.open(name)));
    }));
    const take = (file) => tl.parts.busy(choose, place, async () => {
      show(await tl.api.upload({ name: file.name }, file, 'inspect'), button('Take over its recipe', async () => {
        tl.tab.select('recipe');
        await tl.recipes.load(file);
      }));
    });
    const files = el('input', {
      type: 'file', accept: '.safetensors', hidden: true,
      on: {
        async change() {
          if (files.files.length) await take(files.files[0]);
          files.value = '';
        },
      },
    });
    const choose = button('Choose a file', () => files.click());
    const zone = el('div', { class: 'tl-drop', id: 'train_lora_inspect_drop' }, el('span', { class: 'tl-dim' }, 'Or drop any LoRA file here'), choose, files);
    tl.recipes.dropInto(zone, take);
    return el('div', { class: 'tl-panel' }, el('h3', {}, 'Look into a LoRA'), el('label', { for: 'train_lora_inspect' }, 'LoRA in the web UI’s folder'),
      el('div', { class: 'tl-joined' }, input, node), zone, place);
  }

  function files() {
    const { el, button, fill } = tl.dom;
    const place = el('div', { 'aria-live': 'polite' });
    const input = el('input', {
      type: 'file', accept: '.toml,.json,.safetensors,.sh,.bat,.ps1,.txt', hidden: true,
      on: {
        async change() {
          if (!input.files.length) return;
          await tl.parts.busy(open, place, async () => {
            const said = await tl.recipes.takeFile(input.files[0]);
            fill(place, Date.now(), () => tl.recipes.message(said, () => fill(place, null, () => null)));
          });
          input.value = '';
        },
      },
    });
    const open = button('Load recipe', () => input.click());
    const save = button('Save recipe', () => tl.parts.busy(save, place, tl.recipes.exported));
    return el('div', { class: 'tl-panel', id: 'train_lora_recipe_file' }, el('h3', {}, 'Recipe as a file'),
      el('p', { class: 'tl-dim' }, 'The recipe as it stands, to keep or to share; without folders. Other trainers’ files and LoRAs can be loaded too.'),
      el('div', { class: 'tl-row' }, save, open, input), place);
  }

  const panel = () => tl.dom.el('section', { class: 'tl-cols tl-even' }, inspect(), files());

  tl.tools = { panel };
})(trainLora);
