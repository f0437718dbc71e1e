// The views of the example. A city looks like this:
// { "name": "Zürich", "lat": "47.36667", "lng": "8.55", "country": "CH", "admin1": "ZH", "admin2": "112" }

/** Side of a cell of the map, in degrees. */
const cell = 10;

export const VIEWS = {
  // All cities of a country: ?key="IS"
  by_country: { map: 'function (doc) { emit(doc.country, doc.name) }' },
  // By name, in the order of a dictionary: ?startkey="zür"&endkey="zür\ufff0"
  by_name: { map: 'function (doc) { emit(doc.name) }' },
  // How many cities there are in a band of latitude, and where in it: ?group=true
  by_latitude: {
    map: `function (doc) { emit(Math.floor(doc.lat / ${cell}), Number(doc.lat)) }`,
    reduce: '_stats',
  },
  // How many there are in a country, or in each of its provinces: ?group_level=1 or 2
  by_admin: { map: 'function (doc) { emit([doc.country, doc.admin1]) }', reduce: '_count' },
  // The length of the longest name in each cell of the map, by a function of one's own: ?group=true
  by_cell: {
    map: `function (doc) { emit([Math.floor(doc.lng / ${cell}), Math.floor(doc.lat / ${cell})], doc.name.length) }`,
    reduce: `function (keys, values, rereduce) {
      return values.reduce(function (most, length) { return Math.max(most, length) }, 0)
    }`,
  },
};
