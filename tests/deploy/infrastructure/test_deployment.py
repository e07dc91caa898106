"""The templates deployed to moto's CloudFormation as far as it goes: new resources, and with what is there already."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.infrastructure.templates import NAMES, TEMPLATES
from tests.optional import needed

#: Types that moto's CloudFormation does not make: left out below, their names and attributes replaced by stand-ins. For
#: these there is cfn-lint's schema and test_policies.py only.
NOT_IN_MOTO = {
    "AWS::Budgets::Budget",
    "AWS::CloudWatch::Alarm",
    "AWS::EKS::AccessEntry",
    "AWS::EKS::Addon",
    "AWS::EKS::Cluster",
    "AWS::EKS::Nodegroup",
    "AWS::IAM::OIDCProvider",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBClusterParameterGroup",
    "AWS::RDS::DBInstance",
    "AWS::S3::BucketPolicy",
    "AWS::SecretsManager::Secret",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
}
#: moto does not split the defaults of lists.
CIDRS = {name: TEMPLATES["network"]["Parameters"][name]["Default"] for name in ("PrivateCidrs", "PublicCidrs")}
ADMINISTRATOR = "arn:aws:iam::123456789012:role/administrators"
KEY = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000"
ISSUER = "oidc.eks.us-east-1.amazonaws.com/id/ABC"


def reduced(name: str, *, lists: bool = False) -> str:
    """A template without what moto cannot make; `lists` writes the lists of CIDRS out, where no parameter gives them."""
    template = json.loads(json.dumps(TEMPLATES[name], default=str))
    gone = {key for key, r in template["Resources"].items() if r["Type"] in NOT_IN_MOTO}

    def replace(value: Any) -> Any:
        if isinstance(value, list):
            return [replace(item) for item in value]
        if isinstance(value, str):
            return re.sub(r"\$\{(\w+)[\w.]*\}", lambda m: f"stand-in-{m[1]}" if m[1] in gone else m[0], value)
        if not isinstance(value, dict):
            return value
        if lists and value.get("Ref") in CIDRS:
            return CIDRS[value["Ref"]].split(",")
        if value.get("Ref") in gone:
            return f"stand-in-{value['Ref']}"
        if "Fn::GetAtt" in value and value["Fn::GetAtt"][0] in gone:
            return "//".join(["stand-in", *value["Fn::GetAtt"]])
        return {key: replace(item) for key, item in value.items()}

    template["Resources"] = {key: r for key, r in template["Resources"].items() if key not in gone}
    for resource in template["Resources"].values():
        if resource.get("DependsOn") in gone:
            del resource["DependsOn"]
    return json.dumps(replace(template))


class Cloud:
    """moto's CloudFormation."""

    def __init__(self) -> None:
        import boto3

        self.boto3 = boto3
        self.client = boto3.client("cloudformation", region_name="us-east-1")

    def deploy(self, name: str, **parameters: str) -> dict[str, str]:
        """Create a stack; its outputs."""
        self.client.create_stack(
            StackName=name,
            TemplateBody=reduced(name),
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        )
        (stack,) = self.client.describe_stacks(StackName=name)["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack
        return {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}

    def made(self, name: str) -> dict[str, str]:
        """Physical identifiers of a stack's resources."""
        found = self.client.describe_stack_resources(StackName=name)["StackResources"]
        return {r["LogicalResourceId"]: r.get("PhysicalResourceId", "") for r in found if "LogicalResourceId" in r}

    def service(self, name: str) -> Any:
        """A client of another service."""
        return self.boto3.client(name, region_name="us-east-1")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """An empty account."""
    moto = needed("moto")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with moto.mock_aws():
        yield Cloud()


def test_a_new_installation(cloud: Cloud) -> None:
    """All stacks in their order, each from the outputs of those before it."""
    key = cloud.deploy("keys", AdministratorArn=ADMINISTRATOR)["KmsKeyArn"]
    network = cloud.deploy("network", KmsKeyArn=key, **CIDRS)
    assert len(network["PrivateSubnetIds"].split(",")) == 3
    storage = cloud.deploy("storage", KmsKeyArn=key)
    cloud.deploy("registry", KmsKeyArn=key)
    eks = cloud.deploy(
        "eks", KmsKeyArn=key, PrivateSubnetIds=network["PrivateSubnetIds"], AdministratorArn=ADMINISTRATOR
    )
    group = cloud.service("ec2").create_security_group(GroupName="nodes", Description="x", VpcId=network["VpcId"])
    database = cloud.deploy(
        "database",
        VpcId=network["VpcId"],
        PrivateSubnetIds=network["PrivateSubnetIds"],
        KmsKeyArn=key,
        ClientSecurityGroupId=group["GroupId"],
    )
    cloud.deploy(
        "roles",
        OidcProviderArn=f"arn:aws:iam::123456789012:oidc-provider/{ISSUER}",
        OidcIssuer=ISSUER,
        LandingBucket=storage["LandingBucket"],
        ProductsBucket=storage["ProductsBucket"],
        KmsKeyArn=key,
        LogsBucket=storage["LogsBucket"],
        ClusterName=eks["ClusterName"],
    )
    cloud.deploy(
        "alarms",
        KmsKeyArn=key,
        DatabaseClusterId=database["DatabaseClusterId"],
        Email="a@example.org",
        ProductsBucket=storage["ProductsBucket"],
        ClusterName=eks["ClusterName"],
    )
    _buckets(cloud, storage)
    _roles(cloud)
    assert len(cloud.service("ec2").describe_launch_templates()["LaunchTemplates"]) == 6
    endpoints = cloud.service("ec2").describe_vpc_endpoints()["VpcEndpoints"]
    assert [e["VpcEndpointType"] for e in endpoints] == ["Gateway"]
    assert len(endpoints[0]["RouteTableIds"]) == 3
    repositories = cloud.service("ecr").describe_repositories()["repositories"]
    assert {r["imageTagMutability"] for r in repositories} == {"IMMUTABLE"}


def _buckets(cloud: Cloud, outputs: dict[str, str]) -> None:
    """Of a bucket's properties, moto's CloudFormation makes the encryption."""
    s3 = cloud.service("s3")
    for bucket in outputs.values():
        (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"


def _roles(cloud: Cloud) -> None:
    roles = {r["RoleName"]: r for r in cloud.service("iam").list_roles()["Roles"]}
    document = roles["roman-production-dagster"]["AssumeRolePolicyDocument"]
    (statement,) = document["Statement"]
    assert statement["Condition"]["StringEquals"][f"{ISSUER}:sub"] == "system:serviceaccount:roman:dagster"


def test_what_a_mission_cloud_gives(cloud: Cloud) -> None:
    """VPC, subnets, AMI, key, node role, OIDC provider, landing bucket and topic are there: none is made."""
    ec2 = cloud.service("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"][
            "SubnetId"
        ]
        for n, zone in enumerate("ab")
    ]
    ami = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    network = cloud.deploy(
        "network", KmsKeyArn=KEY, ExistingVpcId=vpc, ExistingPrivateSubnetIds=",".join(subnets), CreateS3Endpoint="no"
    )
    assert network == {"VpcId": vpc, "PrivateSubnetIds": ",".join(subnets)}
    assert cloud.made("network") == {}
    role = "arn:aws:iam::123456789012:role/mission-nodes"
    provider = f"arn:aws:iam::123456789012:oidc-provider/{ISSUER}"
    eks = cloud.deploy(
        "eks",
        KmsKeyArn=KEY,
        PrivateSubnetIds=network["PrivateSubnetIds"],
        AdministratorArn=ADMINISTRATOR,
        NodeAmiId=ami,
        ExistingNodeRoleArn=role,
        ExistingOidcProviderArn=provider,
        SpotNodes="no",
    )
    assert eks["OidcProviderArn"] == provider
    assert eks["NodeRoleArn"] == role
    assert {"OidcProvider", "NodeRole"}.isdisjoint(cloud.made("eks"))
    template = ec2.describe_launch_template_versions(LaunchTemplateId=cloud.made("eks")["ImagesTemplate"])
    assert template["LaunchTemplateVersions"][0]["LaunchTemplateData"]["ImageId"] == ami
    storage = cloud.deploy("storage", KmsKeyArn=KEY, ExistingLandingBucket="mission-landing")
    assert storage["LandingBucket"] == "mission-landing"
    assert "Landing" not in cloud.made("storage")
    topic = "arn:aws:sns:us-east-1:123456789012:mission"
    alarms = cloud.deploy(
        "alarms", KmsKeyArn=KEY, ExistingTopicArn=topic, DatabaseClusterId="d", ProductsBucket="p", ClusterName="c"
    )
    assert alarms == {"TopicArn": topic}
    assert "Topic" not in cloud.made("alarms")


def test_the_list_of_what_moto_lacks_is_exact(cloud: Cloud) -> None:
    """A type that moto learns is to be deployed, too."""
    from moto.cloudformation.parsing import resource_class_from_type

    used = {r["Type"] for name in NAMES for r in TEMPLATES[name]["Resources"].values()}
    lacking = {kind for kind in used if resource_class_from_type(kind) is None}
    assert lacking | {"AWS::RDS::DBInstance"} == NOT_IN_MOTO  # an instance is nothing without its cluster
