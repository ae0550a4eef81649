// What the base already knows: sheets that were drawn without any LoRA, before training.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  function panel() {
    const { el, show } = tl.dom;
    const node = el('details', { id: 'train_lora_base', class: 'tl-panel tl-base', hidden: true, on: { toggle: () => node.open && list.refresh() } },
      el('summary', {}, 'What the base knows, without any LoRA'));
    const list = tl.sheets.list(null, () => tl.tab.showing('results'));
    node.append(list.node);
    const asked = () => tl.store.get('base', '');
    async function refresh() {
      await list.refresh();
      show(node, list.node.children.length);
      const newest = list.node.querySelector('[data-sheet]');
      if (asked() && newest) { // just asked for: shown at once
        node.open = true;
        tl.store.set('base', '');
      }
    }
    return { node, refresh, follow: list.follow, settled: refresh };
  }

  tl.base = { panel };
})(trainLora);
