import Foundation
import Glibc

/// What the kernel says of this process, under the names that Prometheus' own client libraries use.
struct ProcessMetrics {
  /// Reads proc(5) now; what cannot be read is left out.
  static func families() -> [MetricFamily] {
    var families: [MetricFamily] = []
    if let fields = statFields() {
      let tick = Double(max(1, sysconf(Int32(_SC_CLK_TCK))))
      families.append(
        MetricFamily(
          "process_cpu_seconds_total", .counter, help: "User and system CPU time spent, in seconds.",
          (fields[11] + fields[12]) / tick))
      families.append(
        MetricFamily("process_threads", .gauge, help: "Threads of this process.", fields[17]))
      families.append(
        MetricFamily("process_virtual_memory_bytes", .gauge, help: "Virtual memory size, in bytes.", fields[20]))
      families.append(
        MetricFamily(
          "process_resident_memory_bytes", .gauge, help: "Resident memory size, in bytes.",
          fields[21] * Double(sysconf(Int32(_SC_PAGESIZE)))))
      families.append(
        MetricFamily(
          "process_start_time_seconds", .gauge, help: "Start of the process, in seconds since 1970.",
          seconds(CLOCK_REALTIME) - seconds(CLOCK_BOOTTIME) + fields[19] / tick))
    }
    if let names = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
      // One of them is the directory itself while it is being read.
      families.append(
        MetricFamily("process_open_fds", .gauge, help: "Open file descriptors.", Double(max(0, names.count - 1))))
    }
    var limit = rlimit()
    if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
      families.append(
        MetricFamily("process_max_fds", .gauge, help: "Most file descriptors allowed.", Double(limit.rlim_cur)))
    }
    return families
  }

  /// /proc/self/stat behind the command name, which may hold blanks: field 3 of proc(5) comes first.
  private static func statFields() -> [Double]? {
    guard let file = FileHandle(forReadingAtPath: "/proc/self/stat"), let data = try? file.readToEnd(),
      let text = String(data: data, encoding: .utf8), let end = text.lastIndex(of: ")")
    else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ").map { Double($0) ?? 0 }
    return fields.count > 21 ? fields : nil
  }

  private static func seconds(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}
