// Package template reads deployment templates of the resource manager: parameters, variables, expressions, conditions, copies
// and dependencies. It knows no store and no resource type; what has to be asked of others at run time it asks a Runtime.
//
//	template + parameters ──Load──▶ Deployment ──▶ Resources: ids, conditions, what comes before what
//	                                    │
//	                                    ├─ Body(resource) ──▶ what to PUT, once those it waits for are there
//	                                    └─ Outputs        ──▶ once all are there
//
// Whatever does not ask a Runtime is evaluated by Load, so that a mistake is found before anything is made.
package template
