import Glibc

/// What the kernel shall do differently for this process.
enum ProcessLimits {
  static func apply() {
    // A closed peer is an errno, not the end of the process; core files would hold keys.
    signal(SIGPIPE, SIG_IGN)
    var noCore = rlimit(rlim_cur: 0, rlim_max: 0)
    setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &noCore)
    // What this process makes is its own, sockets too.
    umask(0o077)
    // Each session takes two descriptors: as many as the administrator allows.
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
}
