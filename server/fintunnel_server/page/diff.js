/** What two texts have in common, word by word: the longest common subsequence. */

/** @typedef {{text: string, changed: boolean}} Segment */

/** @param {string} before @param {string} after @returns {{before: Segment[], after: Segment[]}} */
export function diffTexts(before, after) {
  const [left, right] = [words(before), words(after)];
  const width = right.length + 1;
  // lengths[i * width + j]: of the longest common subsequence of left from i on and right from j on
  const lengths = new Uint16Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      lengths[i * width + j] =
        left[i] === right[j]
          ? lengths[(i + 1) * width + j + 1] + 1
          : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  /** @type {{before: Segment[], after: Segment[]}} */
  const result = { before: [], after: [] };
  let [i, j] = [0, 0];
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && left[i] === right[j]) {
      add(result.before, left[i++], false);
      add(result.after, right[j++], false);
    } else if (j === right.length || (i < left.length && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) {
      add(result.before, left[i++], true);
    } else {
      add(result.after, right[j++], true);
    }
  }
  return result;
}

/** @param {string} text @returns {string[]} Chinese words where the browser knows them, else characters */
function words(text) {
  if (!("Segmenter" in Intl)) return [...text];
  return Array.from(new Intl.Segmenter("zh", { granularity: "word" }).segment(text), (part) => part.segment);
}

/** @param {Segment[]} segments @param {string} text @param {boolean} changed */
function add(segments, text, changed) {
  const last = segments.at(-1);
  if (last?.changed === changed) last.text += text;
  else segments.push({ text, changed });
}
