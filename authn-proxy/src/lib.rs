//! Policy Enforcement Point: the gate and the reverse proxy behind it
