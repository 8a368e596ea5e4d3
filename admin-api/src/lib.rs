//! Policy Administration Point: do policies, schema, entities, routes and issuers fit each other
