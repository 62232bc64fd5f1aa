import CPlatform
import Glibc

/// What the kernel shall do differently for this process.
enum ProcessLimits {
  static func apply() {
    // A closed peer is an errno, not the end of the process.
    signal(SIGPIPE, SIG_IGN)
    // Core files would hold keys, and so would what another process of this user reads with ptrace(2).
    var noCore = rlimit(rlim_cur: 0, rlim_max: 0)
    setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &noCore)
    platform_forbid_dumps()
    // For the same reason Swift's reporter of crashes, another process, could not look into this one and would wait for ever;
    // what it prints holds registers and memory. The line that says what went wrong does not come from it.
    for crash in [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP] { signal(crash, SIG_DFL) }
    // What this process makes is its own, sockets too.
    umask(0o077)
    // Each session takes two descriptors: as many as the administrator allows.
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
}
