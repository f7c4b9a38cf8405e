// Search by words, behind the interface of Fuse that smalldocs' page calls: a query finds words and
// the parts of names (steps_to_uniform: steps, to, uniform), whole words before their beginnings.
// Titles and names in headings count most, guides more than the reference.
window.Fuse = class {
  constructor(entries) {
    const first = [["index", 3], ["guides/", 3], ["method/", 2], ["experiments/", 1.5]];
    this.entries = entries.map(item => ({
      item, title: this.words(item.title), section: this.words(item.section || ""),
      text: this.words(item.text), about: this.words(item.about || ""),
      place: (first.find(([start]) => item.href.startsWith(start)) || [0, 1])[1],
      top: !item.section}));
  }

  words(text) {
    const found = text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) || [];
    const counts = new Map();
    for (const word of found)
      for (const part of new Set([word, ...word.split("_")]))
        if (part) counts.set(part, (counts.get(part) || 0) + 1);
    return counts;
  }

  // How well a field answers a word: 1 for the word itself, less for words that begin with it.
  match(field, word) {
    if (field.has(word)) return 1;
    if (word.length > 2)
      for (const other of field.keys())
        if (other.startsWith(word)) return .4 + .4*word.length/other.length;
    return 0;
  }

  score(entry, words, query) {
    let sum = 0;
    for (const word of words) {
      const title = this.match(entry.title, word), section = this.match(entry.section, word);
      const text = this.match(entry.text, word), often = entry.text.get(word) || 0;
      const about = this.match(entry.about, word);
      if (!title && !section && !text && !about) return 0;
      sum += 8*title*(entry.top ? 1.5 : .5) + 6*section + 9*about;
      sum += text*(1 + Math.log1p(often)/2);
    }
    const item = entry.item;
    if (item.name && item.section.toLowerCase() === query) sum += 12;
    if (item.title.toLowerCase() === query && entry.top) sum += 16*words.length;
    return sum + entry.place;
  }

  search(query, {limit = 20} = {}) {
    query = query.toLowerCase().trim();
    const words = query.match(/[\p{L}\p{N}_]+/gu) || [];
    if (!words.length) return [];
    const found = this.entries.map(entry => [this.score(entry, words, query), entry]);
    const best = found.filter(([score]) => score).sort((a, b) => b[0] - a[0]);
    const seen = new Map();  // at most three sections of a page
    return best.filter(([, {item}]) => {
      const page = item.href.split("#")[0];
      seen.set(page, (seen.get(page) || 0) + 1);
      return seen.get(page) <= 3;
    }).slice(0, limit).map(([, {item}]) => ({item}));
  }
};
