import Foundation
import Testing

@testable import genpool_bench

/// The documents of `genpool-bench --json`, which people keep and compare with later ones.
@Suite struct ResultsTests {
  private let measurement = Measurement(
    case: "64MiB@4KiB", fit: "first", occupancy: 50, ns: 58.0449, baselineNs: 814.5, ratio: 14.03,
    binsNs: 44.6, binsRatio: 1.29, harnessNs: 10, latencies: Sorted([50, 71]),
    binsLatencies: Sorted([40, 60]), failedShare: 0)

  private func objects(_ document: Data) throws -> [[String: Any]] {
    try #require(JSONSerialization.jsonObject(with: document) as? [[String: Any]])
  }

  @Test func `a row has the members of the results that are kept`() throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appending(path: "../../Sources/genpool-bench/Results")
    let kept = try FileManager.default.contentsOfDirectory(
      at: folder, includingPropertiesForKeys: nil
    ).filter { $0.pathExtension == "json" }
    #expect(!kept.isEmpty)
    let text = try [DatedRow(measurement, on: Machine())].jsonRows
    let row = try #require(try objects(Data(text.utf8)).first)
    for file in kept {
      for object in try objects(Data(contentsOf: file)) {
        #expect(Set(object.keys) == Set(row.keys))
      }
    }
    #expect(row["case"] as? String == "64MiB@4KiB" && row["occupancy"] as? Int == 50)
    #expect(row["ns"] as? Double == 58.04 && row["max_ns"] as? Double == 71)
    #expect(row["machine"] as? String == Machine().name)
  }

  @Test func `rows are lines with sorted members, and no row is an empty array`() throws {
    let text = try [["b": 1, "a": 2.5], ["c/d": 0]].jsonRows
    #expect(text == "[\n  {\"a\":2.5,\"b\":1},\n  {\"c/d\":0}\n]")
    #expect(try objects(Data(jsonArray([]).utf8)).isEmpty)
  }

  @Test func `the table for programs has the same numbers in its columns`() throws {
    let names = measurement.csvHead.split(separator: ",").map(String.init)
    let values = measurement.csv.split(separator: ",").map(String.init)
    #expect(
      measurement.csvHead
        == "case,fit,occupancy,ns,baseline_ns,ratio,bins_ns,bins_ratio,harness_ns,p50_ns,p99_ns,"
        + "p999_ns,max_ns,bins_p50_ns,bins_p99_ns,bins_p999_ns,bins_max_ns,failed")
    let row = try #require(
      JSONSerialization.jsonObject(with: JSONEncoder().encode(measurement)) as? [String: Any])
    #expect(Set(names) == Set(row.keys) && names.count == values.count)
    for (name, value) in zip(names, values) where name != "case" && name != "fit" {
      #expect(Double(value) == row[name] as? Double, "\(name)")
    }
  }
}
