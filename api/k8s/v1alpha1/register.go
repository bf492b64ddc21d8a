package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is amlarc.azureml.com/v1alpha1.
var GroupVersion = schema.GroupVersion{Group: "amlarc.azureml.com", Version: "v1alpha1"}

// AddToScheme registers this package's kinds with a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &AmlJob{}, &AmlJobList{}, &InstanceType{}, &InstanceTypeList{},
		&OnlineEndpoint{}, &OnlineEndpointList{}, &OnlineDeployment{}, &OnlineDeploymentList{}, &Identity{}, &IdentityList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
