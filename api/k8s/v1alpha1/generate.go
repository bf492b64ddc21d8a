package v1alpha1

//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.19.0 object paths=.
//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.19.0 crd:maxDescLen=300 paths=. output:crd:dir=../../../charts/azureml/crds
//go:generate go run fairlead.dev/fairlead/charts/internal/crdbounds ../../../charts/azureml/crds/amlarc.azureml.com_instancetypes.yaml
