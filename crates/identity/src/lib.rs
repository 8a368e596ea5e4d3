//! Who is calling: tokens, keys, and the claims they prove
