/// A set of code points as ranges, written as alternating gaps and lengths: compact to keep, quick enough to walk.
struct CodePointSet: Sendable {
  private let ranges: [Range<UInt32>]

  init(_ gapsAndLengths: String) {
    var ranges: [Range<UInt32>] = []
    var start: UInt32?
    var position: UInt32 = 0
    for number in gapsAndLengths.split(whereSeparator: \.isWhitespace).compactMap({ UInt32($0) }) {
      position += number
      if let begin = start {
        ranges.append(begin..<position)
        start = nil
      } else {
        start = position
      }
    }
    self.ranges = ranges
  }

  func contains(_ scalar: Unicode.Scalar) -> Bool {
    for range in ranges {
      if scalar.value < range.lowerBound { return false }
      if scalar.value < range.upperBound { return true }
    }
    return false
  }
}

/// The tables of RFC 3454 that SASLprep needs; all are of Unicode 3.2 and will never change.
enum StringPrep {
  /// C.1.2.
  static let nonASCIISpace = CodePointSet(
    """
    160 1 5599 1 2431 12 35 1 47 1 4000 1
    """)

  /// B.1.
  static let mappedToNothing = CodePointSet(
    """
    173 1 673 1 5302 1 4 3 2045 3 82 1 56735 16 239 1
    """)

  /// C.1.2, C.2.1, C.2.2 and C.3 to C.9.
  static let prohibited = CodePointSet(
    """
    0 32 95 34 671 2 923 1 49 1 3952 1 397 1 2033 16 24 8 47 5 6 6 3968 12 4 1 43007 8448 1232 32 271 1 249 7 53619 8
    11907 2 65534 2 65534 2 65534 2 65534 2 65534 2 65534 2 65534 2 65534 2 65534 2 65534 2 65534 2 65534 2 1 1 30 96
    65406 131074
    """)

  /// D.1: characters of bidirectional property R or AL.
  static let rightToLeft = CodePointSet(
    """
    1470 1 1 1 2 1 12 27 5 5 38 1 3 1 1 26 5 11 34 3 1 101 7 1 7 2 19 5 1 14 2 1 1 27 83 38 11 1 6237 1 56077 1 1 10 1
    13 1 5 1 1 1 2 1 2 1 108 33 363 18 64 2 54 40 13 115 5 1 135
    """)

  /// D.2: characters of bidirectional property L.
  static let leftToRight = CodePointSet(
    """
    65 26 6 26 47 1 10 1 4 1 5 23 1 31 1 297 1 18 28 94 2 9 2 7 14 2 14 5 9 1 139 1 11 1 1 3 1 1 1 20 1 44 1 38 10 131
    7 69 1 38 2 2 6 16 33 38 2 7 1 39 1 1 889 1 1 53 3 4 8 4 3 1 7 10 2 13 17 2 1 8 2 2 2 22 1 7 1 1 3 4 4 3 6 2 2 2
    10 1 4 2 1 3 4 12 2 7 10 6 4 2 2 22 1 7 1 2 1 2 1 2 4 3 24 4 1 1 7 10 2 3 14 1 1 7 1 1 1 3 1 22 1 7 1 2 1 5 3 4 8
    1 1 2 3 1 15 1 5 10 18 2 1 8 2 2 2 22 1 7 1 2 2 4 3 2 1 1 6 2 2 2 10 1 4 2 1 3 4 11 18 1 1 6 3 3 1 4 3 2 1 1 1 2 3
    2 3 3 3 8 1 3 4 2 1 2 3 3 1 3 10 1 15 12 14 3 1 8 1 3 1 23 1 10 1 5 7 4 27 2 4 10 18 2 1 8 1 3 1 23 1 10 1 5 4 1 1
    5 2 2 1 2 9 2 7 1 1 2 4 10 18 2 1 8 1 3 1 23 1 16 4 3 5 3 1 3 10 1 8 2 4 10 18 2 1 18 3 24 1 9 1 1 2 7 8 3 6 8 18
    3 12 48 1 2 12 7 8 13 37 2 1 1 2 2 1 1 2 1 6 4 1 7 1 3 1 1 1 1 2 2 1 4 1 2 9 1 2 5 1 1 9 10 2 2 34 24 2 27 1 1 1 1
    5 10 1 34 20 1 5 1 2 4 50 8 1 6 2 1 48 34 1 5 1 2 1 1 4 1 6 1 7 24 72 38 10 41 2 1 4 90 5 68 5 82 6 7 1 63 1 1 1 4
    2 7 1 1 1 4 2 39 1 1 1 4 2 31 1 1 1 4 2 7 1 1 1 4 2 7 1 7 1 23 1 31 1 1 1 4 2 7 1 39 1 19 6 28 35 85 12 630 10 26
    5 81 15 13 1 4 14 18 3 2 9 18 14 13 1 3 15 55 7 8 1 2 11 7 1 1 3 10 38 10 6 88 8 41 1367 156 4 90 6 22 2 6 2 38 2
    6 2 8 1 1 1 1 1 1 1 31 2 53 1 7 1 1 3 3 1 7 3 4 2 6 4 13 5 3 1 7 17 1 98 1 13 1 130 1 4 1 2 10 1 1 3 5 6 1 1 1 1 1
    1 4 1 3 1 7 3 3 5 5 22 36 434 69 26 1 262 78 2843 3 25 9 7 5 2 5 4 86 6 3 1 90 1 4 5 40 4 94 1 40 56 45 3 36 28 28
    3 50 15 12 4 47 1 119 4 99 2 31 1 6582 74 20902 90 1165 1907 11172 92 8750 2 59 149 7 12 5 1033 26 6 26 11 89 3 6
    2 6 2 6 2 3 803 31 1 4 12 27 181 38 2 38 52146 246 10 39 3 61 3 9 16 2 7 30 4 48 546 85 1 71 1 2 2 1 2 2 2 4 1 12
    1 1 1 4 1 2 1 65 1 4 2 8 1 7 1 28 1 4 1 5 1 1 3 7 1 338 4 290 10294 42711 20777 542 787938 65534 2 65534
    """)
}
