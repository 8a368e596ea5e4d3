//! Policy Decision Point: policies, entities, the decision, and the APIs that ask for it
