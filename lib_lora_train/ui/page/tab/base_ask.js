// Asking what the base already knows: the intended words, drawn by the loaded checkpoint before anything is trained.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  /** The trigger word, the sample prompts, and a few captions. */
  function usual() {
    const { trigger_word: trigger, sample_prompts: samples } = tl.recipe.values;
    const items = (tl.recipe.check && tl.recipe.check.pictures && tl.recipe.check.pictures.items) || [];
    const captions = items.filter((one) => !one.is_reg && one.caption).map((one) => one.caption);
    return [...new Set([trigger, ...(samples || '').split('\n'), ...captions].map((line) => (line || '').trim()).filter(Boolean))].slice(0, 4);
  }

  async function ask() {
    const { el } = tl.dom;
    const words = el('textarea', { rows: 4, id: 'train_lora_base_prompts', value: usual().join('\n') });
    const answer = await tl.parts.ask('What does the base know already?', [
      el('p', {}, 'Three pictures of each line, without any LoRA. What comes out right needs fewer steps; a word that already means something else needs another trigger.'),
      el('label', { for: words.id }, 'Prompts, one per line'), words], [['Draw', 'draw', true], ['Cancel', null]]);
    if (!answer) return;
    const prompts = words.value.split('\n').filter((line) => line.trim());
    const { run } = await tl.api.post('sheet', { kind: 'base', prompts, settings: tl.recipe.values });
    tl.store.set('base', run);
    await tl.live.began(run, 'What the base knows');
    tl.tab.select('results');
  }

  function link(place) {
    const node = tl.dom.link('What does the base know already?', () => tl.parts.busy(node, place, ask), { id: 'train_lora_ask_base' });
    return node;
  }

  tl.baseAsk = { link };
})(trainLora);
