// How a person looks in every window: a color and initials, both made of the name alone.

const COLORS_COUNT = 6; // the classes person-0 to person-5 of the style sheets
const letters = new Intl.Segmenter(undefined, { granularity: "grapheme" });

export function colorOf(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  return `person-${sum % COLORS_COUNT}`;
}

// One or two letters. A letter may be several characters long, such as an emoji of a family.
export function initialsOf(name) {
  const words = name.split(/[\s._-]+/u).filter(Boolean);
  const first = words.length > 1 ? [words[0], words.at(-1)] : [name];
  return first.map((word) => letters.segment(word)[Symbol.iterator]().next().value?.segment ?? "").join("").toLocaleUpperCase();
}
