//! A hardened HTTP listener: bind, limits, guards, timeouts, drain
