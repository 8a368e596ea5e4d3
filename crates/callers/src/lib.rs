//! Who may call an API of ours: hashed bearer tokens
