extension QRCode {
  /// The symbol as an SVG element of `side` CSS pixels, without script or style: a strict content policy lets it pass.
  public func svg(side: Int = 240) -> String {
    let whole = size + 2 * Self.quietZone
    var path = ""
    for row in 0..<size {
      for column in 0..<size where self[row, column] {
        path += "M\(column + Self.quietZone) \(row + Self.quietZone)h1v1h-1z"
      }
    }
    return """
      <svg xmlns="http://www.w3.org/2000/svg" width="\(side)" height="\(side)" viewBox="0 0 \(whole) \(whole)" \
      shape-rendering="crispEdges" role="img" aria-label="QR code"><rect width="\(whole)" height="\(whole)" \
      fill="#fff"/><path d="\(path)" fill="#000"/></svg>
      """
  }

  /// The symbol as lines of text, two rows of modules a line by half blocks; dark modules are the filled ones.
  ///
  /// - Parameter colors: black on white by escape sequences, whatever the terminal's own colours are.
  public func halfBlocks(colors: Bool) -> String {
    let range = -Self.quietZone..<size + Self.quietZone
    return stride(from: range.lowerBound, to: range.upperBound, by: 2).map { row in
      let line = range.map { column in
        switch (self[row, column], self[row + 1, column]) {
        case (true, true): "\u{2588}"
        case (true, false): "\u{2580}"
        case (false, true): "\u{2584}"
        case (false, false): " "
        }
      }.joined()
      return colors ? "\u{1b}[30;107m\(line)\u{1b}[0m" : line
    }.joined(separator: "\n")
  }
}
