// A notification and a sound when a run ends: off until the user wants them, remembered in this browser.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  /** Two short tones, rising for a good end, falling for a bad one. */
  function sound(good) {
    const Audio = window.AudioContext || window.webkitAudioContext;
    if (!Audio) return;
    const context = new Audio();
    (good ? [660, 880] : [440, 330]).forEach((pitch, index) => {
      const tone = context.createOscillator(), volume = context.createGain(), start = context.currentTime + index * 0.22;
      tone.frequency.value = pitch;
      volume.gain.setValueAtTime(0.0001, start);
      volume.gain.exponentialRampToValueAtTime(0.2, start + 0.02);
      volume.gain.exponentialRampToValueAtTime(0.0001, start + 0.2);
      tone.connect(volume).connect(context.destination);
      tone.start(start);
      tone.stop(start + 0.21);
    });
    setTimeout(() => context.close(), 1000);
  }

  function notify(words) {
    if (window.Notification && Notification.permission === 'granted') new Notification('Train LoRA', { body: words, tag: 'train-lora' });
  }

  /** The two boxes; a browser that refuses notifications says so. */
  function control() {
    const { el, text } = tl.dom;
    const said = el('span', { class: 'tl-dim', 'aria-live': 'polite' });
    const boxes = [['notify', 'Notify me at the end'], ['sound', 'with a sound']].map(([name, label]) => {
      const box = el('input', { type: 'checkbox', id: `train_lora_end_${name}`, checked: tl.store.get(`end/${name}`, false), on: { change: () => change(name, box) } });
      return el('label', { class: 'tl-choice' }, box, ` ${label}`);
    });
    async function change(name, box) {
      tl.store.set(`end/${name}`, box.checked);
      text(said, '');
      if (name === 'sound' && box.checked) sound(true); // so that one hears what will be heard
      if (name !== 'notify' || !box.checked) return;
      const allowed = window.Notification ? await Notification.requestPermission() : 'denied';
      if (allowed === 'granted') return;
      box.checked = false;
      tl.store.set('end/notify', false);
      text(said, 'This browser does not allow notifications from this page.');
    }
    return el('span', { class: 'tl-row tl-tight tl-end' }, boxes, said);
  }

  tl.on('ended', (id) => {
    const run = tl.current && tl.current.id === id ? tl.current : null;
    const failed = Boolean(run && run.outcome && run.outcome.event === 'Failed');
    if (tl.store.get('end/sound', false)) sound(!failed);
    if (tl.store.get('end/notify', false)) notify(`${(run && run.name) || 'The run'} ${failed ? 'failed' : 'is finished'}.`);
  });

  tl.ending = { control };
})(trainLora);
