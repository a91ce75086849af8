// Package inprocess holds the CRD to the rules of package admission with the apiserver's own validation as a library:
// no cluster, no binaries. It is a module of its own, as the controller needs nothing of all that the library brings.
package inprocess

import (
	"fmt"
	"os"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/crdserverscheme"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/admission"
)

const path = "../../../manifests/crd.yaml"

func TestAdmission(t *testing.T) {
	judge, err := newJudge(path)
	if err != nil {
		t.Fatal(err)
	}
	admission.Test(t, judge)
}

// The apiserver refuses a CRD whose rules it can't compile or finds too expensive.
func TestCRD(t *testing.T) {
	crd, err := readCRD(path)
	if err != nil {
		t.Fatal(err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(crd)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
	var internal apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd,
		&internal, nil); err != nil {
		t.Fatal(err)
	}
	internal.Status.StoredVersions = []string{crd.Spec.Versions[0].Name}
	for _, refused := range crdvalidation.ValidateCustomResourceDefinition(t.Context(), &internal) {
		t.Error(refused)
	}
}

func readCRD(path string) (*apiextensionsv1.CustomResourceDefinition, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, crd); err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return crd, nil
}

// judge does what the apiserver does with an object of the CRD, up to the point where it would be stored. Kubernetes:
// apiextensions-apiserver pkg/apiserver/customresource_handler.go getOrCreateServingInfoFor.
type judge struct {
	schema   *structuralschema.Structural
	strategy strategy
	status   rest.RESTUpdateStrategy
}

type strategy interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
}

func newJudge(path string) (*judge, error) {
	crd, err := readCRD(path)
	if err != nil {
		return nil, err
	}
	version := crd.Spec.Versions[0] // the only one
	var internal apiextensions.CustomResourceValidation
	err = apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(
		version.Schema, &internal, nil)
	if err != nil {
		return nil, fmt.Errorf("convert the schema: %w", err)
	}
	structural, err := structuralschema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, fmt.Errorf("the schema is not structural: %w", err)
	}
	whole, _, err := validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, fmt.Errorf("make a validator: %w", err)
	}
	properties := internal.OpenAPIV3Schema.Properties["status"]
	status, _, err := validation.NewSchemaValidator(&properties)
	if err != nil {
		return nil, fmt.Errorf("make a validator of the status: %w", err)
	}
	kind := schema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.Kind}
	strategy := customresource.NewStrategy(
		crdserverscheme.NewUnstructuredObjectTyper(), true, kind, whole, status, structural,
		&apiextensions.CustomResourceSubresourceStatus{}, nil, nil)
	return &judge{schema: structural, strategy: strategy, status: customresource.NewStatusStrategy(strategy)}, nil
}

func (j *judge) Create(network *unstructured.Unstructured) error {
	network, err := j.decode(network)
	if err != nil {
		return err
	}
	rest.FillObjectMetaSystemFields(network)
	return rest.BeforeCreate(j.strategy, request.WithNamespace(request.NewContext(), "test"), network)
}

func (j *judge) Update(before, after *unstructured.Unstructured) error {
	return j.update(j.strategy, before, after)
}

func (j *judge) UpdateStatus(before, after *unstructured.Unstructured) error {
	return j.update(j.status, before, after)
}

func (j *judge) update(strategy rest.RESTUpdateStrategy, before, after *unstructured.Unstructured) error {
	before, err := j.decode(before)
	if err != nil {
		return err
	}
	ctx := request.WithNamespace(request.NewContext(), "test")
	rest.FillObjectMetaSystemFields(before)
	if err := rest.BeforeCreate(j.strategy, ctx, before); err != nil {
		return fmt.Errorf("create it first: %w", err)
	}
	before.SetResourceVersion("1")
	after, err = j.decode(after)
	if err != nil {
		return err
	}
	after.SetUID(before.GetUID())
	after.SetResourceVersion("1")
	return rest.BeforeUpdate(strategy, ctx, after, before)
}

// decode fails on fields that the schema doesn't know, as it does for kubectl, and fills in the defaults.
func (j *judge) decode(network *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	network = network.DeepCopy()
	network.SetNamespace("test")
	unknown := pruning.PruneWithOptions(network.Object, j.schema, true,
		structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	var failed []error
	for _, path := range unknown {
		failed = append(failed, fmt.Errorf("unknown field %q", path))
	}
	if failed != nil {
		return nil, runtime.NewStrictDecodingError(failed)
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(network.Object, j.schema)
	defaulting.Default(network.Object, j.schema)
	return network, nil
}
